package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "github.com/tidings-go/tidings/examples/proposals"

// A module may import itself and the events. The events import no package of this
// program. The compiler enforces this for internal packages, and this test for the
// others.
func TestBoundaries(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*/*.go") // all but the internal packages
	require.NoError(t, err)
	modules := map[string]bool{}
	for _, file := range files {
		modules[filepath.Dir(file)] = true
	}
	require.Subset(t, modules, map[string]bool{"crm": true, "clients": true, "projects": true, "events": true})

	for module := range modules {
		for file, paths := range importsOf(t, module) {
			for _, imported := range paths {
				inside, ok := strings.CutPrefix(imported, root+"/")
				require.True(t, !ok || inside == "events" || strings.HasPrefix(inside+"/", module+"/"),
					"%s imports %s: modules speak to each other through events", file, imported)
			}
		}
	}
}

// importsOf returns the imports of every file of a module but its tests.
func importsOf(t *testing.T, module string) map[string][]string {
	t.Helper()
	imports := map[string][]string{}
	require.NoError(t, filepath.WalkDir(module, func(file string, _ fs.DirEntry, err error) error {
		if err != nil || path.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			imports[file] = append(imports[file], imported)
		}
		return nil
	}))
	return imports
}
