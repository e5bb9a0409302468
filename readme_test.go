package tidings_test

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReadmeModules compares what README says of each module with its go.mod: a
// line in the table with the version of Go, and one in the replace block.
func TestReadmeModules(t *testing.T) {
	t.Parallel()
	modules, err := docModules(os.DirFS("."))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("a module cache has the root module alone")
	}
	require.NoError(t, err)
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	modules = slices.DeleteFunc(modules, func(module string) bool {
		return slices.Contains([]string{"bench", "examples", "relay/faulttest"}, module) // which nobody imports
	})
	require.Contains(t, modules, "relay/amqp")
	for _, module := range modules {
		mod, err := os.ReadFile(path.Join(module, "go.mod"))
		require.NoError(t, err)
		version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)
		require.NotNil(t, version, module)
		name := path.Join("tidings", module)
		require.Regexp(t, "(?m)^\\| `"+name+"` \\|.*\\| "+regexp.QuoteMeta(string(version[1]))+" \\|$", string(readme), "the table of modules")
		require.Contains(t, strings.Split(string(readme), "\n"), "\tgithub.com/tidings-go/"+name+" => ../"+name, "the replace block")
	}
}
