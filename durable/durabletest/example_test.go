package durabletest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/durable/durabletest"
	"github.com/tidings-go/tidings/tidingstest"
)

// ClientAccepted is what the module clients publishes.
type ClientAccepted struct {
	tidings.DomainEvent
	Company string `json:"company"`
}

// mail is the module under test. Its server is down at first.
type mail struct {
	up   bool
	sent []string
}

func (m *mail) welcome(_ context.Context, e ClientAccepted) error {
	if !m.up {
		return errors.New("no mail server")
	}
	m.sent = append(m.sent, e.Company)
	return nil
}

func Example() {
	ctx := context.Background()
	db := openExampleDB(ctx)
	defer db.Close()

	var events tidings.Registry
	tidings.Register[ClientAccepted](&events, "clients.accepted", 1)

	// As in the program, except for Configure and the clock.
	clock := tidingstest.NewClock(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))
	config := durabletest.Configure(&river.Config{}, clock.Now)
	client, err := river.NewClient(riversqlite.New(db), config)
	check(err)
	jobs, err := durable.New(client, config.Workers, tidings.SQL(db), &events, durable.WithClock(clock.Now))
	check(err)

	bus := tidings.New(tidings.WithClock(clock.Now))
	module := &mail{}
	tenMinutes := tidings.Backoff(func(int) time.Duration { return 10 * time.Minute })
	tidings.Subscribe(bus, module.welcome, tidings.Named("mail.welcome"), tidings.Via(jobs), tenMinutes)

	// The job is stored in the transaction, and runs in Drain.
	check(tidings.InTx(ctx, db, nil, func(ctx context.Context, tx *sql.Tx) error {
		return tidings.Publish(ctx, bus, ClientAccepted{Company: "Quarry Stone"})
	}))
	check(durabletest.Drain(ctx, jobs))
	fmt.Println("at first:", module.sent)

	// The retry is due after ten minutes of the clock.
	module.up = true
	clock.Advance(9 * time.Minute)
	check(durabletest.Drain(ctx, jobs))
	fmt.Println("after nine minutes:", module.sent)
	clock.Advance(time.Minute)
	check(durabletest.Drain(ctx, jobs))
	fmt.Println("after ten:", module.sent)
	// Output:
	// at first: []
	// after nine minutes: []
	// after ten: [Quarry Stone]
}

func openExampleDB(ctx context.Context) *sql.DB {
	db, err := sql.Open("sqlite", ":memory:")
	check(err)
	db.SetMaxOpenConns(1) // each connection would have a database of its own
	migrator, err := rivermigrate.New(riversqlite.New(db), nil)
	check(err)
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	check(err)
	return db
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
