package events

import (
	"fmt"
	"strings"
)

// A ProposalType is the kind of company that a proposal is for.
type ProposalType string

const (
	Prospective ProposalType = "prospective_client" // a company that may become a client
	Update      ProposalType = "update_client"      // a client whose contract changes
	Renewal     ProposalType = "renewal_client"     // a client whose contract runs out
)

// ProposalTypes returns all of them.
func ProposalTypes() []ProposalType { return []ProposalType{Prospective, Update, Renewal} }

// Money is an amount in euro cents.
type Money int64

// String returns "EUR 12,500.00".
func (m Money) String() string {
	digits := fmt.Sprintf("%03d", max(m, -m))
	euros, cents := digits[:len(digits)-2], digits[len(digits)-2:]
	var b strings.Builder
	b.WriteString("EUR ")
	if m < 0 {
		b.WriteByte('-')
	}
	for i, digit := range euros {
		if i > 0 && (len(euros)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(digit)
	}
	return b.String() + "." + cents
}
