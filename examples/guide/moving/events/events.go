// Package events holds the events of all modules. It imports none of the
// modules.
package events

import "github.com/tidings-go/tidings"

// ProposalAccepted is published when a company accepts a proposal.
type ProposalAccepted struct {
	tidings.DomainEvent
	ProposalID int64
	Company    string
}

// ClientCreated is published when a company becomes a client.
type ClientCreated struct {
	tidings.DomainEvent
	ClientID int64
	Company  string
}
