package transactions_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"

	"github.com/ncruces/go-sqlite3/gormlite"
	"gorm.io/gorm"
	_ "modernc.org/sqlite"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tx/gormtx"
)

// A savepoint that rolls back drops its own events. The others are delivered after
// the commit. The other libraries are used in the same way.
func Example() {
	conn, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		log.Fatal(err)
	}
	conn.SetMaxOpenConns(1) // each connection to :memory: would be another database
	db, err := gorm.Open(gormlite.OpenDB(conn), &gorm.Config{})
	if err != nil {
		log.Fatal(err)
	}
	type Invoice struct {
		ID     int64
		Number string
	}
	if err := db.AutoMigrate(&Invoice{}); err != nil {
		log.Fatal(err)
	}

	bus := tidings.New()
	tidings.Subscribe(bus, func(_ context.Context, e InvoiceIssued) error {
		fmt.Println("mailing", e.Number)
		return nil
	})

	issue := func(ctx context.Context, number string) error {
		return gormtx.InTx(ctx, db, nil, func(ctx context.Context, tx *gorm.DB) error {
			if err := tx.Create(&Invoice{Number: number}).Error; err != nil {
				return err
			}
			if err := tidings.Publish(ctx, bus, InvoiceIssued{Number: number}); err != nil {
				return err
			}
			if number == "2026-13" {
				return errors.New("there is no 13th month")
			}
			return nil
		})
	}
	err = gormtx.InTx(context.Background(), db, nil, func(ctx context.Context, _ *gorm.DB) error {
		for _, number := range []string{"2026-11", "2026-13", "2026-12"} {
			if err := issue(ctx, number); err != nil {
				fmt.Printf("leaving out %s: %v\n", number, err)
			}
		}
		fmt.Println("committing")
		return nil
	})
	var stored int64
	fmt.Println(err, db.Model(&Invoice{}).Count(&stored).Error, stored)
	// Output:
	// leaving out 2026-13: there is no 13th month
	// committing
	// mailing 2026-11
	// mailing 2026-12
	// <nil> <nil> 2
}
