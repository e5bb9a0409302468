package tidings_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/tidings-go/tidings"
)

type InvoicePaid struct {
	tidings.DomainEvent
	InvoiceID int64  `json:"invoice_id"`
	Payer     string `json:"payer"`
}

// An event that is stored in a table or sent through a queue needs a name that
// outlives its Go type. Decode returns the same event, including its header.
func ExampleRegister() {
	registry := &tidings.Registry{Source: "https://shop.example"}
	tidings.Register[InvoicePaid](registry, "billing.invoice_paid", 1)

	clock := func() time.Time { return time.Date(2026, 3, 1, 9, 30, 0, 123456789, time.UTC) }
	bus := tidings.New(tidings.WithClock(clock))
	var stored []byte
	tidings.Subscribe(bus, func(_ context.Context, e InvoicePaid) (err error) {
		if stored, err = registry.Encode(e); err != nil {
			return err
		}
		decoded, err := registry.Decode(stored)
		fmt.Printf("%T, the same: %t\n", decoded, decoded == tidings.Event(e))
		return err
	})
	if err := tidings.Publish(context.Background(), bus, InvoicePaid{InvoiceID: 7, Payer: "Tern Ltd"}); err != nil {
		fmt.Println(err)
	}

	ids := regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`) // random
	fmt.Println(ids.ReplaceAllString(strings.ReplaceAll(string(stored), `,"`, ",\n \""), "…"))
	// Output:
	// tidings_test.InvoicePaid, the same: true
	// {"specversion":"1.0",
	//  "id":"…",
	//  "source":"https://shop.example",
	//  "type":"billing.invoice_paid",
	//  "time":"2026-03-01T09:30:00.123456Z",
	//  "datacontenttype":"application/json",
	//  "dataversion":1,
	//  "correlationid":"…",
	//  "data":{"invoice_id":7,
	//  "payer":"Tern Ltd"}}
}

// The earlier shapes of an event. They never change, and stay beside the functions that
// convert them.
type (
	shipmentV1 struct {
		Recipient string `json:"recipient"` // "Ada Lovelace, London"
	}
	shipmentV2 struct {
		Name string `json:"name"`
		City string `json:"city"`
	}
	ShipmentSent struct { // version 3
		tidings.DomainEvent
		Name    string `json:"name"`
		City    string `json:"city"`
		Country string `json:"country"`
	}
)

func shipmentV1to2(old shipmentV1) (shipmentV2, error) {
	name, city, ok := strings.Cut(old.Recipient, ", ")
	if !ok {
		return shipmentV2{}, fmt.Errorf("recipient %q has no city", old.Recipient)
	}
	return shipmentV2{Name: name, City: city}, nil
}

func shipmentV2to3(old shipmentV2) (ShipmentSent, error) {
	return ShipmentSent{Name: old.Name, City: old.City, Country: "GB"}, nil // at that time we shipped nowhere else
}

// Data of version 1 becomes version 2, and version 2 becomes version 3. Each change
// of shape is one small function, and handlers see only the current shape.
func ExampleUpcast() {
	registry := &tidings.Registry{}
	tidings.Register[ShipmentSent](registry, "shop.shipment_sent", 3)
	tidings.Upcast(registry, "shop.shipment_sent", 1, shipmentV1to2)
	tidings.Upcast(registry, "shop.shipment_sent", 2, shipmentV2to3)
	if err := registry.Validate(); err != nil {
		fmt.Println(err)
	}

	const header = `"specversion":"1.0","source":"tidings","type":"shop.shipment_sent","time":"2024-05-01T12:00:00Z"`
	for _, stored := range []string{
		`{"id":"018f33f0-7b00-7c3e-9f8e-1f2a3b4c5d6e","dataversion":1,"data":{"recipient":"Ada Lovelace, London"},` + header + `}`,
		`{"id":"018f33f0-7b01-7c3e-9f8e-1f2a3b4c5d6e","dataversion":2,"data":{"name":"Mary Somerville","city":"Jedburgh"},` + header + `}`,
		`{"id":"018f33f0-7b02-7c3e-9f8e-1f2a3b4c5d6e","dataversion":1,"data":{"recipient":"Mary Ann Evans"},` + header + `}`,
	} {
		event, err := registry.Decode([]byte(stored))
		if err != nil {
			fmt.Println(err)
			continue
		}
		e := event.(ShipmentSent)
		fmt.Printf("%s: to %s, %s, %s\n", e.OccurredAt().Format(time.DateOnly), e.Name, e.City, e.Country)
	}
	// Output:
	// 2024-05-01: to Ada Lovelace, London, GB
	// 2024-05-01: to Mary Somerville, Jedburgh, GB
	// tidings: decoding "shop.shipment_sent" version 1, event 018f33f0-7b02-7c3e-9f8e-1f2a3b4c5d6e: upcast from version 1: recipient "Mary Ann Evans" has no city
}
