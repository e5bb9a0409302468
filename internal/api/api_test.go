// Package api keeps what the modules of the repository export, in one file for
// each module, so that a change of it is seen in review.
package api_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write what the modules export to the files of this directory")

const (
	repository = "../.."
	rootPath   = "github.com/tidings-go/tidings"
	howTo      = "run go test ./internal/api -update, and commit what it writes"
)

// Modules of programs, benchmarks and tests.
var notImported = []string{"tidings-bench", "tidings-examples", "tidings-relay-faulttest", "tidings-tx-drivers"}

// TestExported compares what each module exports with its file.
func TestExported(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(filepath.Join(repository, "go.work")); os.IsNotExist(err) {
		t.Skip("a module cache has the root module alone")
	}
	exported := exportedByModules(t)
	stored, err := filepath.Glob("*.txt")
	require.NoError(t, err)
	if *update {
		for _, file := range stored {
			require.NoError(t, os.Remove(file))
		}
		for file, text := range exported {
			require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		}
		return
	}
	for file, text := range exported {
		want, err := os.ReadFile(file)
		require.NoError(t, err, howTo)
		require.Equal(t, string(want), text, "an exported name has changed: "+howTo)
	}
	require.Len(t, stored, len(exported), "a file is of a module that exports nothing: "+howTo)
}

// exportedByModules returns, by the names of the files here, the exported
// declarations of the packages that others can import.
func exportedByModules(t *testing.T) map[string]string {
	texts := map[string]string{}
	modules := map[string]string{} // of each directory
	require.NoError(t, filepath.WalkDir(repository, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		if base := entry.Name(); base == "internal" || base == "testdata" || strings.HasPrefix(base, ".") && name != repository {
			return fs.SkipDir
		}
		dir, err := filepath.Rel(repository, name)
		if err != nil {
			return err
		}
		dir = filepath.ToSlash(dir)
		modules[dir] = modules[path.Dir(dir)]
		if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
			modules[dir] = strings.ReplaceAll(path.Join("tidings", dir), "/", "-")
		}
		if module := modules[dir]; slices.Contains(notImported, module) {
			return fs.SkipDir
		}
		text, err := exportedByPackage(name, path.Join(rootPath, dir))
		if text != "" {
			texts[modules[dir]+".txt"] += text
		}
		return err
	}))
	require.Contains(t, texts, "tidings.txt")
	return texts
}

// exportedByPackage returns the exported declarations of the package in a
// directory, without their comments and bodies. It takes the files of all
// platforms.
func exportedByPackage(dir, importPath string) (string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", err
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return "", err
		}
		files = append(files, file)
	}
	if len(files) == 0 || files[0].Name.Name == "main" {
		return "", nil
	}
	p, err := doc.NewFromFiles(fset, files, importPath)
	if err != nil {
		return "", err
	}
	decls := append(valueDecls(p.Consts, p.Vars), funcDecls(p.Funcs)...)
	for _, t := range p.Types {
		decls = append(decls, t.Decl)
		decls = append(decls, valueDecls(t.Consts, t.Vars)...)
		decls = append(decls, funcDecls(t.Funcs, t.Methods)...)
	}
	layout := printer.Config{Mode: printer.UseSpaces, Tabwidth: 8}
	var text strings.Builder
	fmt.Fprintf(&text, "package %s // import %q\n\n", p.Name, importPath)
	for _, d := range decls {
		if err := layout.Fprint(&text, fset, d); err != nil {
			return "", err
		}
		text.WriteString("\n\n")
	}
	return text.String(), nil
}

func valueDecls(groups ...[]*doc.Value) (decls []ast.Decl) {
	for _, group := range groups {
		for _, v := range group {
			decls = append(decls, v.Decl)
		}
	}
	return decls
}

func funcDecls(groups ...[]*doc.Func) (decls []ast.Decl) {
	for _, group := range groups {
		for _, f := range group {
			decls = append(decls, f.Decl)
		}
	}
	return decls
}
