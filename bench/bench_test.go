package bench_test

import (
	"fmt"
	"testing"

	"github.com/tidings-go/tidings/bench"
)

// BenchmarkCases runs every case with every subject in it, as
// Cases/handlers-10/tidings. Read ns/single: one op is a whole batch.
// go run ./bench/cmd/report measures the same subjects in turns and is the one
// to quote.
func BenchmarkCases(b *testing.B) {
	for _, c := range bench.Cases() {
		for _, subject := range c.Subjects {
			name := c.Key + "/" + subject.Name
			if subject.Goroutines > 0 {
				name += fmt.Sprintf("/goroutines-%d", subject.Goroutines)
			}
			b.Run(name, func(b *testing.B) {
				if c.Skip != "" {
					b.Skip(c.Skip)
				}
				// One op is a batch, so that handing it to the subject does
				// not count, nor does starting goroutines: a bare loop takes
				// no longer than that.
				batch := 100
				switch {
				case subject.Goroutines > 0:
					batch = 2_000
				case c.Turns == 1: // it takes long enough by itself
					batch = 1
				}
				benchmarkSubject(b, subject, batch)
			})
		}
	}
}

func benchmarkSubject(b *testing.B, subject bench.Subject, batch int) {
	runner, err := subject.Setup()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := runner.Close(); err != nil {
			b.Error(err)
		}
	})
	b.ReportAllocs()
	for b.Loop() {
		if err := runner.DoFrom(subject.Goroutines, batch); err != nil {
			b.Fatal(err)
		}
	}
	single := b.N * batch * max(subject.Goroutines, 1)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(single), "ns/single")
}

func BenchmarkSubscribe(b *testing.B) {
	for _, contender := range bench.Contenders() {
		if !contender.Synchronous {
			continue // a goroutine for each handler is a different matter
		}
		for _, n := range []int{bench.FewSubscriptions, bench.ManySubscriptions} {
			b.Run(fmt.Sprintf("%d/%s", n, contender.Name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					runner, err := contender.Setup(n)
					if err != nil {
						b.Fatal(err)
					}
					if err := runner.Close(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
