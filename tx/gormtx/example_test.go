package gormtx_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"

	"github.com/ncruces/go-sqlite3/gormlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	_ "modernc.org/sqlite" // the driver sqlite

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tx/gormtx"
)

// An Order publishes OrderPlaced when it is stored.
type Order struct {
	ID   int64
	Item string
}

type OrderPlaced struct {
	tidings.DomainEvent
	Item string
}

type shop struct {
	db  *gorm.DB
	bus *tidings.EventBus
}

func (s *shop) place(ctx context.Context, item string) error {
	return gormtx.InTx(ctx, s.db, nil, func(ctx context.Context, tx *gorm.DB) error {
		if err := tx.Create(&Order{Item: item}).Error; err != nil {
			return err
		}
		return tidings.Publish(ctx, s.bus, OrderPlaced{Item: item})
	})
}

func ExampleInTx() {
	s := openShop()
	tidings.Subscribe(s.bus, func(_ context.Context, e OrderPlaced) error {
		fmt.Println("pack", e.Item)
		return nil
	})
	if err := s.place(context.Background(), "Emma"); err != nil {
		log.Fatal(err)
	}
	// Output: pack Emma
}

// Code that is called inside a transaction, or outside of any, finds the right *gorm.DB.
func ExampleFrom() {
	s := openShop()
	count := func(ctx context.Context) (n int64) {
		if err := gormtx.From(ctx, s.db).Model(&Order{}).Count(&n).Error; err != nil {
			log.Fatal(err)
		}
		return n
	}
	ctx := context.Background()
	err := tidings.Transact(ctx, gormtx.Transactor(s.db), func(ctx context.Context) error {
		if err := s.place(ctx, "Emma"); err != nil { // sets a savepoint
			return err
		}
		fmt.Println("inside:", count(ctx))
		return errors.New("changed my mind")
	})
	fmt.Println(err)
	fmt.Println("after it:", count(ctx))
	// Output:
	// inside: 1
	// changed my mind
	// after it: 0
}

func openShop() *shop {
	pool, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		log.Fatal(err)
	}
	pool.SetMaxOpenConns(1) // each connection would have a database of its own
	db, err := gorm.Open(gormlite.OpenDB(pool), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		log.Fatal(err)
	}
	if err := db.AutoMigrate(&Order{}); err != nil {
		log.Fatal(err)
	}
	return &shop{db, tidings.New()}
}
