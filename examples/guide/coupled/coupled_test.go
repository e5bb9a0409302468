package coupled_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings/examples/guide/coupled/clients"
	"github.com/tidings-go/tidings/examples/guide/coupled/crm"
	"github.com/tidings-go/tidings/examples/guide/coupled/projects"
	"github.com/tidings-go/tidings/examples/guide/internal/memdb"
)

// portalDown is a portal that cannot be reached.
type portalDown struct{}

func (portalDown) OpenAccount(context.Context, string) error { return errors.New("connection refused") }

func Example() {
	db := memdb.Open(crm.Schema + clients.Schema + projects.Schema + "INSERT INTO proposals VALUES (7, 'Quarry Stone', FALSE)")
	defer db.Close()

	proposals := &crm.Service{DB: db}
	proposals.Clients = &clients.Service{Projects: &projects.Service{}, Portal: portalDown{}}

	fmt.Println(proposals.Accept(context.Background(), 7))
	fmt.Println("accepted:", memdb.Count(db, "SELECT count(*) FROM proposals WHERE accepted"))
	// Output:
	// crm: accept proposal 7: clients: open account of Quarry Stone: connection refused
	// accepted: 0
}
