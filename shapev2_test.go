//go:build go1.27 && goexperiment.jsonv2

package tidings_test

import (
	"encoding/json/jsontext"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

type (
	streamed struct{ text string }
	poured   int
)

func (s streamed) MarshalJSONTo(e *jsontext.Encoder) error {
	return e.WriteToken(jsontext.String(s.text))
}

func (s *streamed) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	token, err := d.ReadToken()
	s.text = token.String()
	return err
}

func (poured) MarshalJSONTo(e *jsontext.Encoder) error { return e.WriteToken(jsontext.String("p")) }

func TestMethodsOfTheSecondVersionOfEncodingJSON(t *testing.T) {
	t.Parallel()
	fieldsOf("both ways", streamed{"x"}).requireSame(t)
	r := &tidings.Registry{}
	fieldsOf[poured]("written alone").register(r)
	require.ErrorContains(t, r.Validate(), "has a method that writes its JSON and none that reads")
	r = &tidings.Registry{}
	fieldsOf[streamed]("").register(r)
	_, err := r.Encode(tidings.Stamp(t.Context(), record[streamed]{Field: streamed{"caf\xe9"}}))
	require.Error(t, err)
}
