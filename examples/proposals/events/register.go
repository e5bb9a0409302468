package events

import "github.com/tidings-go/tidings"

// Register gives the events the names and versions under which they are
// stored. The names stay when a type is renamed. testdata has what each
// version looks like.
func Register(r *tidings.Registry) {
	tidings.Register[ProposalAccepted](r, "crm.proposal_accepted", 1)
	tidings.Register[ClientCreated](r, "clients.client_created", 1)
	tidings.Register[ContractSigned](r, "clients.contract_signed", 1)
	tidings.Register[ProjectCreated](r, "projects.project_created", 1)
}
