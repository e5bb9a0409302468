package proposal

import (
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
	"unicode"
	"unicode/utf8"

	"github.com/tidings-go/tidings/examples/proposals/events"
)

// A Line is one line of a sheet: a proposal, or an error.
type Line struct {
	Number   int // in the file, from 1
	Proposal Proposal
	Err      error
}

var columns = []string{"firm", "number", "type", "company", "contact_email", "service", "amount", "starts_on", "portal"}

// ReadSheet reads proposals from CSV whose first line is the header. An invalid
// line does not prevent reading the others; the returned error concerns the whole
// file. Each line is parsed separately: a field cannot span several lines, and a
// missing quote affects only its line.
func ReadSheet(r io.Reader) ([]Line, error) {
	content, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	text := strings.TrimPrefix(string(content), "\uFEFF") // which spreadsheets write
	header, rest, _ := strings.Cut(text, "\n")
	if fields, err := split(header); err != nil || !slices.Equal(fields, columns) {
		return nil, fmt.Errorf("the first line is %q, not the header %q", strings.TrimSpace(header), strings.Join(columns, ","))
	}

	var lines []Line
	number, seen := 1, map[string]int{} // line by firm and number
	for text := range strings.Lines(rest) {
		number++
		if strings.TrimSpace(text) == "" {
			continue
		}
		line := Line{Number: number}
		line.Proposal, line.Err = parse(text)
		if line.Err == nil {
			key := line.Proposal.Firm + "\x00" + line.Proposal.Number
			if first, ok := seen[key]; ok {
				line.Err = fmt.Errorf("number %q of %s is taken by line %d", line.Proposal.Number, line.Proposal.Firm, first)
			} else {
				seen[key] = number
			}
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// split returns the fields of a line without the spaces around them.
func split(text string) ([]string, error) {
	record := csv.NewReader(strings.NewReader(text))
	record.TrimLeadingSpace = true
	fields, err := record.Read()
	if syntax := (*csv.ParseError)(nil); errors.As(err, &syntax) {
		return nil, syntax.Err // without its line number, which is 1
	}
	for i, field := range fields {
		fields[i] = strings.TrimSpace(field)
	}
	return fields, err
}

// parse returns the first thing that is wrong with a line.
func parse(text string) (Proposal, error) {
	fields, err := split(text)
	if err != nil {
		return Proposal{}, err
	}
	if len(fields) != len(columns) {
		return Proposal{}, fmt.Errorf("%d columns instead of %d", len(fields), len(columns))
	}
	for i, field := range fields {
		if field == "" {
			return Proposal{}, fmt.Errorf("no %s", columns[i])
		}
		if !utf8.ValidString(field) || strings.ContainsFunc(field, unprintable) {
			return Proposal{}, fmt.Errorf("%s %q cannot be printed", columns[i], field)
		}
	}
	p := Proposal{Firm: fields[0], Company: fields[3], Service: fields[5]}
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

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

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
		return "", fmt.Errorf("type %q is not one of %v", s, known)
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
		return time.Time{}, fmt.Errorf("starts_on %q is not a date like 2026-01-31", s)
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
