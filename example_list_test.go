package tidings_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tidings-go/tidings"
)

type BasketLine struct {
	Item  string
	Count int
}

type BasketPaid struct {
	tidings.DomainEvent
	Lines tidings.List[BasketLine]
}

// Handlers that share a slice could change it for each other, so events contain a
// List instead.
func ExampleList() {
	bus := tidings.New()
	tidings.Subscribe(bus, func(ctx context.Context, e BasketPaid) error {
		for i, line := range e.Lines.All() {
			fmt.Printf("%d: %d x %s\n", i+1, line.Count, line.Item)
		}
		data, err := json.Marshal(e)
		fmt.Println(string(data))
		return err
	})

	lines := []BasketLine{{"tea", 2}, {"honey", 1}}
	event := BasketPaid{Lines: tidings.ListOf(lines...)}
	lines[0].Count = 99 // the List has its own copy
	if err := tidings.Publish(context.Background(), bus, event); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 1: 2 x tea
	// 2: 1 x honey
	// {"Lines":[{"Item":"tea","Count":2},{"Item":"honey","Count":1}]}
}
