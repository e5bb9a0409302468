package proposal

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidings-go/tidings/examples/proposals/events"
)

// A Line is one record of a sheet: a proposal, or the reason why it is none.
type Line struct {
	Number   int // in the file, from 1
	Proposal Proposal
	Err      error
}

var columns = []string{"firm", "number", "type", "company", "contact_email", "service", "amount", "starts_on", "portal"}

// ReadSheet reads proposals from CSV with a header line. A bad record does
// not keep the others from being read; the error is one of the whole file.
func ReadSheet(r io.Reader) ([]Line, error) {
	sheet := csv.NewReader(withoutBOM(r))
	sheet.FieldsPerRecord = -1 // counted in parse, for a message that names the columns
	sheet.TrimLeadingSpace = true

	header, err := sheet.Read()
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("the file is empty")
	case err != nil:
		return nil, err
	case !slices.Equal(header, columns):
		return nil, fmt.Errorf("the first line is %q, not the header %q", strings.Join(header, ","), strings.Join(columns, ","))
	}

	var lines []Line
	firstSeen := map[string]int{} // line by firm and number
	for {
		fields, err := sheet.Read()
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if syntax := (*csv.ParseError)(nil); errors.As(err, &syntax) {
			lines = append(lines, Line{Number: syntax.StartLine, Err: syntax.Err})
			continue
		}
		if err != nil {
			return nil, err
		}
		line := Line{}
		line.Number, _ = sheet.FieldPos(0)
		line.Proposal, line.Err = parse(fields)
		if line.Err == nil {
			key := line.Proposal.Firm + "\x00" + line.Proposal.Number
			if first, seen := firstSeen[key]; seen {
				line.Err = fmt.Errorf("number %q of %s is taken by line %d", line.Proposal.Number, line.Proposal.Firm, first)
			} else {
				firstSeen[key] = line.Number
			}
		}
		lines = append(lines, line)
	}
}

// withoutBOM skips the byte order mark that spreadsheets put in front.
func withoutBOM(r io.Reader) io.Reader {
	mark := []byte("\uFEFF")
	b := bufio.NewReader(r)
	if start, err := b.Peek(len(mark)); err == nil && bytes.Equal(start, mark) {
		_, _ = b.Discard(len(mark)) // cannot fail: they were just peeked at
	}
	return b
}

// parse returns the first thing that is wrong with a record.
func parse(fields []string) (Proposal, error) {
	if len(fields) != len(columns) {
		return Proposal{}, fmt.Errorf("%d columns instead of %d", len(fields), len(columns))
	}
	for i := range fields {
		if fields[i] = strings.TrimSpace(fields[i]); fields[i] == "" {
			return Proposal{}, fmt.Errorf("no %s", columns[i])
		}
	}
	p := Proposal{Firm: fields[0], Company: fields[3], Service: fields[5]}
	var err error
	if p.Number, err = parseNumber(fields[1]); err != nil {
		return Proposal{}, err
	}
	if p.Type, err = parseType(fields[2]); err != nil {
		return Proposal{}, err
	}
	if p.ContactEmail, err = parseEmail(fields[4]); err != nil {
		return Proposal{}, err
	}
	if p.Amount, err = parseAmount(fields[6]); err != nil {
		return Proposal{}, err
	}
	if p.StartsOn, err = parseDate(fields[7]); err != nil {
		return Proposal{}, err
	}
	if p.Portal, err = parseYesNo(fields[8]); err != nil {
		return Proposal{}, err
	}
	return p, nil
}

var numberFormat = regexp.MustCompile(`^[A-Z]{2,5}-[0-9]{1,6}$`)

func parseNumber(s string) (string, error) {
	if !numberFormat.MatchString(s) {
		return "", fmt.Errorf("number %q is not like ABC-123", s)
	}
	return s, nil
}

func parseType(s string) (events.ProposalType, error) {
	t, known := events.ProposalType(s), events.ProposalTypes()
	if !slices.Contains(known, t) {
		return "", fmt.Errorf("type %q is none of %v", s, known)
	}
	return t, nil
}

func parseEmail(s string) (string, error) {
	if address, err := mail.ParseAddress(s); err != nil || address.Address != s {
		return "", fmt.Errorf("contact_email %q is no address", s)
	}
	return s, nil
}

var amountFormat = regexp.MustCompile(`^[0-9]{1,12}(\.[0-9]{2})?$`)

func parseAmount(s string) (events.Money, error) {
	if !amountFormat.MatchString(s) {
		return 0, fmt.Errorf("amount %q is not like 12500 or 12500.00", s)
	}
	euros, cents, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(euros+(cents + "00")[:2], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("amount %q: %w", s, err)
	}
	if n == 0 {
		return 0, errors.New("the amount is zero")
	}
	return events.Money(n), nil
}

func parseDate(s string) (time.Time, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("starts_on %q is no date like 2026-01-31", s)
	}
	return t, nil
}

func parseYesNo(s string) (bool, error) {
	switch s {
	case "yes":
		return true, nil
	case "no":
		return false, nil
	}
	return false, fmt.Errorf("portal is %q, not yes or no", s)
}
