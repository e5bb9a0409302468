package proposal_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/examples/proposals/crm/internal/proposal"
	"github.com/tidings-go/tidings/examples/proposals/events"
)

const (
	header = "firm,number,type,company,contact_email,service,amount,starts_on,portal\n"
	good   = "Mill,MLT-1,prospective_client,Tern,ops@tern.example,Payroll,100.50,2027-01-04,yes\n"
)

var tern = proposal.Proposal{
	Firm: "Mill", Number: "MLT-1", Type: events.Prospective, Company: "Tern", ContactEmail: "ops@tern.example",
	Service: "Payroll", Amount: 100_50, StartsOn: time.Date(2027, 1, 4, 0, 0, 0, 0, time.UTC), Portal: true,
}

func TestReadSheet_Good(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		reason string
		sheet  string
	}{
		{"plain", header + good},
		{"spaces around", header + strings.ReplaceAll(good, ",", " , ")},
		{"quoted", header + strings.Replace(good, "Tern", `"Tern"`, 1)},
		{"from Windows", strings.ReplaceAll(header+good, "\n", "\r\n")},
		{"from a spreadsheet, with BOM", "\uFEFF" + header + good},
		{"no newline at the end", strings.TrimSpace(header + good)},
		{"blank lines", header + "\n" + good + "\n\n"},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			t.Parallel()
			lines, err := proposal.ReadSheet(strings.NewReader(tt.sheet))
			require.NoError(t, err)
			require.Len(t, lines, 1)
			require.NoError(t, lines[0].Err)
			require.Equal(t, tern, lines[0].Proposal)
		})
	}
}

func TestReadSheet_BadLineBetweenGoodOnes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, old, new, want string }{
		{"number", "MLT-1", "MLT1", `number "MLT1" is not like ABC-123`},
		{"lower case", "MLT-1", "mlt-1", `number "mlt-1" is not like ABC-123`},
		{"type", "prospective_client", "client", `type "client" is not one of [prospective_client update_client renewal_client]`},
		{"missing field", "Tern", "", "no company"},
		{"field of spaces", "Tern", "  ", "no company"},
		{"too few columns", "Tern,", "", "8 columns instead of 9"},
		{"too many columns", "Tern", "Tern,Tern", "10 columns instead of 9"},
		{"address", "ops@tern.example", "ops", `contact_email "ops" is no address`},
		{"address with name", "ops@tern.example", "Ops <ops@tern.example>", `contact_email "Ops <ops@tern.example>" is no address`},
		{"amount", "100.50", "12k", `amount "12k" is not like 12500 or 12500.00`},
		{"half cents", "100.50", "1.005", `amount "1.005" is not like 12500 or 12500.00`},
		{"negative amount", "100.50", "-5", `amount "-5" is not like 12500 or 12500.00`},
		{"exponent", "100.50", "1e9", `amount "1e9" is not like 12500 or 12500.00`},
		{"huge amount", "100.50", strings.Repeat("9", 40), "is not like 12500 or 12500.00"},
		{"nothing to pay", "100.50", "0.00", "the amount is zero"},
		{"date", "2027-01-04", "4 January", `starts_on "4 January" is not a date like 2026-01-31`},
		{"no such day", "2027-01-04", "2027-02-30", `starts_on "2027-02-30" is not a date like 2026-01-31`},
		{"portal", "yes", "maybe", `portal is "maybe", not yes or no`},
		{"quote in a field", "Tern", `Te"rn`, `bare " in non-quoted-field`},
		{"quote never closed", "Tern", `"Tern`, `extraneous or missing " in quoted-field`},
		{"terminal codes", "Tern", "\x1b[2J", `company "\x1b[2J" cannot be printed`},
		{"tab", "Tern", "Te\trn", `company "Te\trn" cannot be printed`},
		{"other encoding", "Tern", "T\xfcrn", `company "T\xfcrn" cannot be printed`},
		{"text after a quote", "Tern", `"Te"rn`, `extraneous or missing " in quoted-field`},
		{"duplicate", "MLT-1", "MLT-0", `number "MLT-0" of Mill is taken by line 2`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			bad := strings.Replace(good, test.old, test.new, 1)
			sheet := header + strings.Replace(good, "MLT-1", "MLT-0", 1) + bad + strings.Replace(good, "MLT-1", "MLT-2", 1)
			lines, err := proposal.ReadSheet(strings.NewReader(sheet))
			require.NoError(t, err)
			require.Len(t, lines, 3)
			require.NoError(t, lines[0].Err)
			require.ErrorContains(t, lines[1].Err, test.want)
			require.Equal(t, 3, lines[1].Number)
			require.NoError(t, lines[2].Err)
			require.Equal(t, "MLT-2", lines[2].Proposal.Number)
		})
	}
}

func TestReadSheet_RejectedLineTakesNoNumber(t *testing.T) {
	t.Parallel()
	lines, err := proposal.ReadSheet(strings.NewReader(header + strings.Replace(good, "yes", "maybe", 1) + good))
	require.NoError(t, err)
	require.Error(t, lines[0].Err)
	require.NoError(t, lines[1].Err)
}

func TestReadSheet_BlankLinesCount(t *testing.T) {
	t.Parallel()
	lines, err := proposal.ReadSheet(strings.NewReader(header + "\n \n" + good))
	require.NoError(t, err)
	require.Len(t, lines, 1)
	require.Equal(t, 4, lines[0].Number)
}

func TestReadSheet_BadFile(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk on fire")
	for _, test := range []struct {
		reason string
		r      io.Reader
		want   string
	}{
		{"empty", strings.NewReader(""), `the first line is "", not the header`},
		{"no header", strings.NewReader(good), "the first line is"},
		{"other columns", strings.NewReader("a,b\n1,2\n"), `the first line is "a,b", not the header "firm,number`},
		{"syntax error", strings.NewReader("a\"b\n"), "the first line is"},
		{"cannot be read", iotest.ErrReader(broken), broken.Error()},
		{"breaks in between", io.MultiReader(strings.NewReader(header+good), iotest.ErrReader(broken)), broken.Error()},
		{"header in the dark", strings.NewReader("\n" + header), `the first line is "", not the header`},
	} {
		_, err := proposal.ReadSheet(test.r)
		require.ErrorContains(t, err, test.want, test.reason)
	}
}
