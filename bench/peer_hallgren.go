package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/hallgren/eventsourcing/core"
	sqlstore "github.com/hallgren/eventsourcing/eventstore/sql"
)

const hallgrenModule = "github.com/hallgren/eventsourcing/eventstore/sql"

// hallgren saves so many events of a new aggregate, with the header of an
// event as their metadata.
func hallgren(synchronous string, events int) Subject {
	return Subject{
		Name: "hallgren-eventsourcing",
		Note: versionedName(hallgrenModule) + ": Save of its SQLite store, which asks for the aggregate's version and has one INSERT for each event; two indexes, and no list of types, times or correlations",
		Setup: func() (*Runner, error) {
			db, remove, err := openSQLite(synchronous)
			if err != nil {
				return nil, err
			}
			store, err := sqlstore.NewSQLite(db)
			if err != nil {
				return nil, errors.Join(err, remove())
			}
			w, err := newBillWriter(false)
			if err != nil {
				return nil, errors.Join(err, remove())
			}
			return perTransaction(func(context.Context) error {
				list, err := w.aggregate(events)
				if err != nil {
					return err
				}
				return store.Save(list)
			}, (&logDB{sql: db}).counter("events"), remove), nil
		},
	}
}

func (w *billWriter) aggregate(events int) ([]core.Event, error) {
	id, now := w.nextID().String(), time.Now()
	list := make([]core.Event, events)
	for i := range list {
		data, err := w.marshal()
		if err != nil {
			return nil, err
		}
		metadata, err := json.Marshal(struct {
			ID, Correlation uuid.UUID
		}{w.nextID(), w.id})
		if err != nil {
			return nil, err
		}
		list[i] = core.Event{
			AggregateID: id, AggregateType: "Order", Version: core.Version(i + 1), Reason: "Billed", Timestamp: now,
			Data: []byte(data), Metadata: metadata,
		}
	}
	return list, nil
}

// versionedName is a module with its version, as far as the program knows it.
func versionedName(module string) string {
	if version := moduleVersion(module); version != "" {
		return fmt.Sprintf("%s %s", module, version)
	}
	return module
}
