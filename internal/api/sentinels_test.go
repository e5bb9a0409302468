package api_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSentinels checks that errors have the prefix of their package once: an
// exported Err has it, or gets it from what wraps it.
func TestSentinels(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(filepath.Join(repository, "go.work")); os.IsNotExist(err) {
		t.Skip("a module cache has the root module alone")
	}
	prefixes := map[string]string{} // by the name as a package has it, "relay.ErrClosed": "" or "relay: "
	var wraps []*ast.CallExpr
	packages := map[*ast.CallExpr]string{}
	require.NoError(t, filepath.WalkDir(repository, func(name string, entry fs.DirEntry, err error) error {
		if base := entry.Name(); entry.IsDir() && (base == "examples" || base == "internal" || base == "testdata" || strings.HasPrefix(base, ".") && name != repository) {
			return fs.SkipDir
		}
		if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if text, ok := messageOf(n.Values, "errors.New"); ok && strings.HasPrefix(n.Names[0].Name, "Err") {
					dir, err := filepath.Rel(repository, filepath.Dir(name))
					require.NoError(t, err)
					prefix := strings.Replace(filepath.ToSlash(dir), ".", "tidings", 1) + ": "
					if !strings.HasPrefix(text, prefix) {
						require.NotContains(t, text, ": ", "%s has the prefix of another package", name)
						prefix = ""
					}
					prefixes[file.Name.Name+"."+n.Names[0].Name] = prefix
				}
			case *ast.CallExpr:
				if _, ok := messageOf([]ast.Expr{n}, "fmt.Errorf"); ok {
					wraps, packages[n] = append(wraps, n), file.Name.Name
				}
			}
			return true
		})
		return nil
	}))
	require.Equal(t, "tidings: ", prefixes["tidings.ErrClosed"])
	require.Contains(t, prefixes, "relay.ErrClosed")
	for _, call := range wraps {
		format, _ := messageOf([]ast.Expr{call}, "fmt.Errorf")
		for _, arg := range call.Args[1:] {
			name := nameOf(arg)
			if !strings.Contains(name, ".") {
				name = packages[call] + "." + name
			}
			if prefixes[name] != "" {
				require.True(t, strings.HasPrefix(format, "%w"), "%q puts a text before %s, which has the prefix %q", format, name, prefixes[name])
			}
		}
	}
}

// messageOf returns the literal that is the first argument of a call of that
// function, if this is what there is.
func messageOf(values []ast.Expr, function string) (string, bool) {
	if len(values) != 1 {
		return "", false
	}
	call, ok := values[0].(*ast.CallExpr)
	if !ok || nameOf(call.Fun) != function || len(call.Args) == 0 {
		return "", false
	}
	literal, ok := call.Args[0].(*ast.BasicLit)
	if !ok {
		return "", false
	}
	text, err := strconv.Unquote(literal.Value)
	return text, err == nil
}

// nameOf returns x or x.y, or "" for another expression.
func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		if x := nameOf(e.X); x != "" {
			return x + "." + e.Sel.Name
		}
	}
	return ""
}
