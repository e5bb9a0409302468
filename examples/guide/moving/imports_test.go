package moving_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const program = "github.com/tidings-go/tidings/examples/proposals/"

// No module may import another one. They share only the package events.
var modules = []string{"clients", "credit", "crm", "portal", "projects"}

func TestModulesDoNotImportEachOther(t *testing.T) {
	t.Parallel()
	for _, module := range modules {
		err := filepath.WalkDir("../../proposals/"+module, func(file string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(file) != ".go" {
				return err
			}
			source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			for _, spec := range source.Imports {
				path, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					return err
				}
				other, _, _ := strings.Cut(strings.TrimPrefix(path, program), "/")
				if strings.HasPrefix(path, program) && other != module && slices.Contains(modules, other) {
					t.Errorf("%s imports module %s: publish or handle an event instead", file, other)
				}
			}
			return nil
		})
		require.NoError(t, err)
	}
}
