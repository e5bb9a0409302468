package events

import "github.com/tidings-go/tidings"

// Register registers the names and versions under which the events are stored. A
// name stays when its type is renamed. testdata has an example of each version.
func Register(r *tidings.Registry) {
	tidings.Register[ProposalAccepted](r, "crm.proposal_accepted", 1)
	tidings.Register[ClientCreated](r, "clients.client_created", 1)
	tidings.Register[ContractSigned](r, "clients.contract_signed", 1)
	tidings.Register[ProjectCreated](r, "projects.project_created", 1)
}
