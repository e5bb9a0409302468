// Package golden compares the JSON of events with files, so that a change of their
// shape is seen in review.
package golden

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

var update = flag.Bool("update", false, "write the golden files of the newest versions")

// Check encodes each sample and compares it with the file of its name and version
// in testdata. Every registered type needs a sample, with a value in every field.
// The files of older versions stay, and must be readable.
func Check(t *testing.T, registry *tidings.Registry, samples ...tidings.Event) {
	t.Helper()
	require.NoError(t, registry.Validate())
	require.Len(t, samples, len(registry.Registrations()), "one sample for each registered type")
	for _, sample := range samples {
		requireValues(t, sample)
		e, err := registry.Wrap(tidings.Stamp(t.Context(), sample))
		require.NoError(t, err)
		// A header that is the same in every run.
		e.ID = uuid.MustParse("019ca8b1-9140-7000-8000-000000000001")
		e.CorrelationID = uuid.MustParse("019ca8b1-9140-7000-8000-000000000002")
		e.CausationID = uuid.MustParse("019ca8b1-9140-7000-8000-000000000003")
		e.OccurredAt = time.Date(2026, 3, 1, 9, 30, 0, 123456000, time.UTC)
		text, err := json.MarshalIndent(e, "", "  ")
		require.NoError(t, err)

		file := filepath.Join("testdata", fmt.Sprintf("%s.v%d.json", e.Type, e.Version))
		if *update {
			require.NoError(t, os.WriteFile(file, append(text, '\n'), 0o644))
		}
		stored, err := os.ReadFile(file)
		require.NoError(t, err, "a new event or version: run this test with -update, and commit the file")
		require.Equal(t, string(stored), string(text)+"\n",
			"the shape of %T has changed: raise its version, add an Upcast, and run this test with -update", sample)
	}

	files, err := filepath.Glob("testdata/*.v*.json")
	require.NoError(t, err)
	for _, file := range files {
		stored, err := os.ReadFile(file)
		require.NoError(t, err)
		_, err = registry.Decode(stored)
		require.NoError(t, err, file)
	}
}

// requireValues fails if a field has no value. With omitempty the file would not
// have the field.
func requireValues(t *testing.T, sample tidings.Event) {
	t.Helper()
	v := reflect.ValueOf(sample)
	for i := range v.NumField() {
		if field := v.Type().Field(i); !field.Anonymous {
			require.False(t, v.Field(i).IsZero(), "the sample of %T has no %s", sample, field.Name)
		}
	}
}
