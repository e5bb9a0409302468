package bench_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/bench"
)

// fake is a subject that spins for the given time for each operation and
// allocates as many bytes, and remembers what became of it.
type fake struct {
	name   string
	spin   time.Duration
	bytes  int
	log    *[]string
	fail   error
	kept   []byte
	closed int
	setups int
}

func (f *fake) subject() bench.Subject {
	return bench.Subject{Name: f.name, Setup: func() (*bench.Runner, error) {
		f.setups++
		if f.log != nil {
			*f.log = append(*f.log, f.name)
		}
		return &bench.Runner{
			Do: func(_, n int) error {
				for range n {
					if f.bytes > 0 {
						f.kept = make([]byte, f.bytes)
					}
					for began := time.Now(); time.Since(began) < f.spin; {
					}
				}
				return f.fail
			},
			Release: func() error { f.closed++; return nil },
		}, nil
	}}
}

func TestMeasureTellsSubjectsApart(t *testing.T) {
	for _, tt := range []struct {
		name  string
		turns int
	}{{"one by one", 0}, {"in turns", 5}} {
		t.Run(tt.name, func(t *testing.T) {
			quick := &fake{name: "quick", spin: 10 * time.Microsecond}
			slow := &fake{name: "slow", spin: 100 * time.Microsecond, bytes: 4096}
			c := bench.Case{Key: "fakes", Baseline: "quick", Turns: tt.turns,
				Subjects: []bench.Subject{quick.subject(), slow.subject()}}

			table, err := c.Measure(bench.Plan{Count: 3, Time: 5 * time.Millisecond})
			require.NoError(t, err)
			require.Len(t, table.Rows, 2)
			q, ok := table.Row("quick", 1)
			require.True(t, ok)
			s, ok := table.Row("slow", 1)
			require.True(t, ok)

			require.GreaterOrEqual(t, q.Sample.NS, 10e3)
			require.GreaterOrEqual(t, s.Sample.NS, 100e3)
			require.Less(t, q.Sample.NS, s.Sample.NS)
			require.InDelta(t, 0, q.Sample.Allocs, 0.5)
			require.InDelta(t, 1, s.Sample.Allocs, 0.5)
			require.InDelta(t, 4096, s.Sample.Bytes, 2048)

			require.Equal(t, 3, quick.setups, "set up afresh in every round")
			require.Equal(t, 3, quick.closed)
			require.Equal(t, 3, slow.closed)
		})
	}
}

func TestMeasureBeginsEachRoundWithAnother(t *testing.T) {
	var order []string
	a, b := &fake{name: "a", log: &order}, &fake{name: "b", log: &order}
	c := bench.Case{Key: "fakes", Subjects: []bench.Subject{a.subject(), b.subject()}}
	_, err := c.Measure(bench.Plan{Count: 4, Time: time.Microsecond})
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "b", "a", "a", "b", "b", "a"}, order)
}

func TestMeasureSaysWhoFailed(t *testing.T) {
	broken := errors.New("card declined")
	for _, tt := range []struct {
		name  string
		turns int
	}{{"one by one", 0}, {"in turns", 5}} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fake{name: "f", fail: broken}
			c := bench.Case{Key: "fakes", Turns: tt.turns, Subjects: []bench.Subject{f.subject()}}
			_, err := c.Measure(bench.Plan{Count: 1, Time: time.Millisecond})
			require.ErrorIs(t, err, broken)
			require.ErrorContains(t, err, "case fakes: f: ")
			require.Equal(t, 1, f.closed, "closed all the same")
		})
	}
}

func TestMeasureCountsTheWorkOfAllGoroutines(t *testing.T) {
	const size = 4096
	var kept [2][]byte
	c := bench.Case{Key: "fakes", Subjects: []bench.Subject{{
		Name: "two", Goroutines: 2,
		Setup: func() (*bench.Runner, error) {
			return &bench.Runner{Do: func(lane, n int) error {
				for range n {
					kept[lane] = make([]byte, size)
				}
				return nil
			}}, nil
		},
	}}}
	table, err := c.Measure(bench.Plan{Count: 1, Time: 5 * time.Millisecond})
	require.NoError(t, err)
	_, ok := table.Row("two", 1)
	require.False(t, ok)
	row, ok := table.Row("two", 2)
	require.True(t, ok)
	require.InDelta(t, size, row.Sample.Bytes, size/4, "per operation of either goroutine, not of one")
	require.Len(t, kept[0], size)
	require.Len(t, kept[1], size)
}

// skipWithoutServices skips a test for that reason, if there is one.
func skipWithoutServices(t *testing.T, reason string) {
	t.Helper()
	switch {
	case reason == "":
	case os.Getenv("TIDINGS_REQUIRE_SERVICES") == "1":
		t.Fatal(reason)
	default:
		t.Skip("SKIPPED, NO POSTGRES: " + reason)
	}
}

// The cases other than publishing have no handlers to count: that they run at
// all, and deliver where they do, is checked here.
func TestCasesRun(t *testing.T) {
	keys := map[string]bool{}
	for _, c := range bench.Cases() {
		require.False(t, keys[c.Key], "%s twice", c.Key)
		keys[c.Key] = true
		baseline := c.Baseline == ""
		for _, subject := range c.Subjects {
			baseline = baseline || subject.Name == c.Baseline
			t.Run(c.Key+"/"+subject.Name, func(t *testing.T) {
				skipWithoutServices(t, c.Skip)
				runner, err := subject.Setup()
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, runner.Close()) })
				require.NoError(t, runner.DoFrom(subject.Goroutines, 3))
				require.NoError(t, runner.Finish())
			})
		}
		require.True(t, baseline, "%s has no subject %s", c.Key, c.Baseline)
	}
}
