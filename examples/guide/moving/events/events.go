// Package events holds what the modules tell each other. It imports none of
// them.
package events

import "github.com/tidings-go/tidings"

// ProposalAccepted says that a company took what was offered.
type ProposalAccepted struct {
	tidings.DomainEvent
	ProposalID int64
	Company    string
}

// ClientCreated says that a company became a client.
type ClientCreated struct {
	tidings.DomainEvent
	ClientID int64
	Company  string
}
