package main

import (
	"bytes"
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// history has the events that the first version of this program stored: the
// account ada in 2024, with deposits of version 1.
//
//go:embed history-2024.jsonl
var history []byte

// demo opens the log in file, "" for a temporary one, and shows its uses.
func demo(ctx context.Context, file string, out io.Writer) (err error) {
	if file == "" {
		dir, tempErr := os.MkdirTemp("", "ledger-")
		if tempErr != nil {
			return tempErr
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		file = filepath.Join(dir, "ledger.db")
	}
	db, err := openDatabase(ctx, file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	var registry tidings.Registry
	register(&registry)
	log, err := eventlog.Open(ctx, eventlog.SQLite(db), &registry)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, step := range []func(context.Context, *eventlog.Log, io.Writer) error{past, overdraft, conflict, rush, snapshots} {
		if err := step(ctx, log, out); err != nil {
			return err
		}
	}
	return nil
}

func openDatabase(ctx context.Context, file string) (*sql.DB, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	if path = filepath.ToSlash(path); !strings.HasPrefix(path, "/") {
		path = "/" + path // "/C:/...", as in a URI
	}
	settings := url.Values{"_txlock": {"immediate"}, "_pragma": {"journal_mode(WAL)", "busy_timeout(10000)"}}
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: settings.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", file, err)
	}
	if err := db.PingContext(ctx); err != nil {
		return nil, fmt.Errorf("open database %s: %w", file, errors.Join(err, db.Close()))
	}
	return db, nil
}

// past reads data of version 1.
func past(ctx context.Context, log *eventlog.Log, out io.Writer) error {
	report, err := log.Import(ctx, bytes.NewReader(history))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "History of 2024: %d events are new\n", report.Imported)
	b := newBank(log)
	for recorded, err := range log.ReadStream(ctx, b.accounts.Stream("ada"), eventlog.Limit(5)) {
		if err != nil {
			return err
		}
		e := recorded.Envelope
		fmt.Fprintf(out, "  %d  %s  %s version %d  %s  %s\n", recorded.StreamVersion,
			e.OccurredAt.Format(time.DateOnly), e.Type, e.Version, e.Data, inWords(recorded.Event))
	}
	for _, day := range []string{"2024-01-01", "2024-04-01", "2024-07-01", "2025-01-01"} {
		t, err := time.Parse(time.DateOnly, day)
		if err != nil {
			return err
		}
		cents, err := b.balanceAt(ctx, "ada", t)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "  balance before %s: %s\n", day, money(cents))
	}
	return nil
}

func inWords(event tidings.Event) string {
	switch e := event.(type) {
	case AccountOpened:
		return "opened for " + e.Owner
	case Deposited:
		return "+" + money(e.Cents) + " " + e.Currency
	case Withdrawn:
		return "-" + money(e.Cents) + " " + e.Currency
	}
	return fmt.Sprintf("%T", event)
}

// open opens an account, and prints it.
func open(ctx context.Context, b *bank, id, owner string, out io.Writer) error {
	err := b.open(ctx, id, owner, "EUR")
	if errors.Is(err, errOpen) {
		fmt.Fprintf(out, "  %v\n", err)
		return nil
	}
	if err == nil {
		fmt.Fprintf(out, "  account %s opened for %s\n", id, owner)
	}
	return err
}

func overdraft(ctx context.Context, log *eventlog.Log, out io.Writer) error {
	fmt.Fprintln(out, "An overdraft")
	b := newBank(log)
	_, err := b.withdraw(ctx, "ada", 100_000_00)
	if !errors.Is(err, errOverdraft) {
		return fmt.Errorf("overdraft: %v", err)
	}
	fmt.Fprintf(out, "  refused: %v\n", err)
	return nil
}

// conflict has one teller withdraw while another one is between reading and
// writing.
func conflict(ctx context.Context, log *eventlog.Log, out io.Writer) error {
	fmt.Fprintln(out, "Two tellers")
	b := newBank(log)
	if err := open(ctx, b, "joint", "Ada and Grace", out); err != nil {
		return err
	}
	for _, teller := range []struct {
		name string
		bank *bank
	}{
		{"without retry", newBank(log)},
		{"with retry", newBank(log, eventlog.WithRetryOnConflict(1))},
	} {
		if err := b.deposit(ctx, "joint", 100_00); err != nil {
			return err
		}
		fmt.Fprintf(out, "  %s\n", teller.name)
		overtaken := false
		_, err := teller.bank.accounts.Update(ctx, "joint", func(ctx context.Context, a Account) ([]tidings.Event, error) {
			fmt.Fprintf(out, "    reads %s\n", money(a.Cents))
			if !overtaken {
				overtaken = true
				if _, err := b.withdraw(ctx, "joint", 80_00); err != nil {
					return nil, err
				}
				fmt.Fprintln(out, "    meanwhile, another teller withdraws 80.00")
			}
			if a.Cents < 50_00 {
				return nil, errOverdraft
			}
			return []tidings.Event{Withdrawn{Cents: 50_00, Currency: a.Currency}}, nil
		})
		switch {
		case errors.Is(err, eventlog.ErrConflict):
			fmt.Fprintf(out, "    cannot withdraw 50.00: %v\n", eventlog.ErrConflict)
		case errors.Is(err, errOverdraft):
			fmt.Fprintf(out, "    cannot withdraw 50.00: %v\n", err)
		default:
			return fmt.Errorf("two tellers: %v", err)
		}
		if _, err := b.withdraw(ctx, "joint", 20_00); err != nil { // the rest
			return err
		}
	}
	return nil
}

// rush has many tellers withdraw at once.
func rush(ctx context.Context, log *eventlog.Log, out io.Writer) error {
	const tellers = 20
	fmt.Fprintf(out, "%d tellers, 10.00 each, from 100.00\n", tellers)
	b := newBank(log, eventlog.WithRetryOnConflict(tellers), eventlog.WithSnapshotEvery(10))
	if err := open(ctx, b, "till", "the bank", out); err != nil {
		return err
	}
	if err := b.deposit(ctx, "till", 100_00); err != nil {
		return err
	}
	errs := make([]error, tellers)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { _, errs[i] = b.withdraw(ctx, "till", 10_00) })
	}
	wg.Wait()
	paid, refused := 0, 0
	for _, err := range errs {
		switch {
		case err == nil:
			paid++
		case errors.Is(err, errOverdraft):
			refused++
		default:
			return err
		}
	}
	till, _, err := b.accounts.Load(ctx, "till")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "  %d paid, %d refused, %s left\n", paid, refused, money(till.Cents))
	return nil
}

// snapshots counts the events that have to be applied.
func snapshots(ctx context.Context, log *eventlog.Log, out io.Writer) error {
	fmt.Fprintln(out, "Loading ada")
	applied := 0
	counted := func(a Account, event tidings.Event) (Account, error) {
		applied++
		return apply(a, event)
	}
	with := &bank{log, eventlog.NewAggregate(log, "account", counted, eventlog.WithSnapshotEvery(20))}
	if err := with.deposit(ctx, "ada", 5_50); err != nil { // stores a snapshot, if one is due
		return err
	}
	without := &bank{log, eventlog.NewAggregate(log, "account", counted)}
	for _, b := range []struct {
		name string
		bank *bank
	}{{"without snapshot", without}, {"with snapshot", with}} {
		applied = 0
		ada, version, err := b.bank.accounts.Load(ctx, "ada")
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "  %-16s  %s at version %d, from %d events\n", b.name, money(ada.Cents), version, applied)
	}
	return nil
}
