package docscheck_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/docscheck"
)

// TestDocs checks every page of this repository.
func TestDocs(t *testing.T) {
	t.Parallel()
	tree, modules := repository(t)
	pages, problems, err := docscheck.Tree(tree, modules)
	require.NoError(t, err)
	require.NotZero(t, pages)
	if len(problems) > 0 {
		require.Fail(t, "the documentation is not true", strings.Join(problems, "\n"))
	}
}

// repository returns the files of this repository and its modules.
func repository(t *testing.T) (fs.FS, []string) {
	t.Helper()
	tree := os.DirFS("../..")
	modules, err := docscheck.Modules(tree)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("a module cache has the root module alone, without the programs that the pages quote")
	}
	require.NoError(t, err)
	return tree, modules
}

// TestReadmeModules compares the documentation of each module with its go.mod: a
// line in the table of README with the version of Go, and one in the replace block.
func TestReadmeModules(t *testing.T) {
	t.Parallel()
	tree, modules := repository(t)
	readme, err := fs.ReadFile(tree, "README.md")
	require.NoError(t, err)
	unreleased, err := fs.ReadFile(tree, "docs/unreleased.md")
	require.NoError(t, err)
	modules = slices.DeleteFunc(modules, func(module string) bool {
		return slices.Contains([]string{"bench", "examples", "relay/faulttest", "tx/drivers"}, module) // which no other module imports
	})
	require.Contains(t, modules, "relay/amqp")
	for _, module := range modules {
		mod, err := fs.ReadFile(tree, path.Join(module, "go.mod"))
		require.NoError(t, err)
		version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)
		require.NotNil(t, version, module)
		name := path.Join("tidings", module)
		require.Regexp(t, "(?m)^\\| `"+name+"` \\|.*\\| "+regexp.QuoteMeta(string(version[1]))+" \\|$", string(readme), "the table of modules")
		require.Contains(t, strings.Split(string(unreleased), "\n"), "\tgithub.com/tidings-go/"+name+" => ../"+name, "the replace block")
	}
}

// TestDocChecker tests that the checker finds the problems that TestDocs relies on it to
// find.
func TestDocChecker(t *testing.T) {
	t.Parallel()
	const source = "package main\n\nfunc main() {\n\tone()\n\n\tif two() {\n\t\tthree()\n\t}\n}\n"
	tree := fstest.MapFS{
		"go.work":              {Data: []byte("go 1.26.0\n\nuse (\n\t.\n\t./examples // programs\n)\n")},
		"go.mod":               {},
		"examples/go.mod":      {},
		"examples/main.go":     {Data: []byte(source)},
		"examples/ignored.go":  {Data: []byte("//go:build ignore\n\n" + source)},
		"testdata/main.go":     {Data: []byte(source)},
		"elsewhere/go.mod":     {},
		"elsewhere/main.go":    {Data: []byte(source)},
		"docs/other.md":        {Data: []byte("# It's `Go`: a [b](c) d_e\n## Twice\n## Twice ##\n```sh\n# no heading\n```\n")},
		"docs/images/flow.svg": {},
	}
	modules, err := docscheck.Modules(tree)
	require.NoError(t, err)
	require.Equal(t, []string{".", "examples"}, modules)

	const from = "<!-- from: examples/main.go -->\n"
	for _, test := range []struct {
		name, page, want string
	}{
		{"the whole file", from + "```go\n" + source + "```", ""},
		{"an indented passage", from + "```go\nif two() {\n\tthree()\n}\n```", ""},
		{"an empty line between", from + "\n```go\none()\n```", ""},
		{"a block in a list", "- text\n\n    " + from + "    ```go\n    one()\n    ```", ""},
		{"blanks at the ends", from + "```go  \none()  \r\n\n```", ""},
		{"omitted lines", from + "```go\nfunc main() {\n\t// ...\n\tif two() {\n\t\t// ...\n\t}\n}\n```", ""},
		{"a long fence with a fence inside", "````markdown\n```go\nx\n```\n[a](none.md)\n````", ""},
		{"another language", "```sh\ngo test work\n```", ""},

		{"no comment", "```go\none()\n```", "page.md:1: this Go block quotes no file"},
		{"no comment, with attributes", "~~~Go title=x\none()\n~~~", "this Go block quotes no file"},
		{"two lines between", from + "\n\n```go\none()\n```", "page.md:1: a from: comment stands above"},
		{"a comment over another language", from + "```sh\nls\n```", "a from: comment stands above"},
		{"a comment at the end", from, "a from: comment stands above"},
		{"a comment that serves twice", from + "```go\none()\n```\n\n```go\none()\n```", "page.md:6: this Go block"},
		{"a changed line", from + "```go\nfunc main() {\n\tonce()\n```", `the file has no line "once()"`},
		{"lines left out in silence", from + "```go\none()\nif two() {\n```", "not together"},
		{"a changed indentation", from + "```go\nif two() {\nthree()\n}\n```", "not indented like this"},
		{"the wrong order", from + "```go\nthree()\n// ...\none()\n```", `no line "one()" after`},
		{"nothing quoted", from + "```go\n// ...\n```", "the block has no lines"},
		{"a fence that never ends", from + "```go\none()\n\nprose", `no line "prose"`},
		{"no such file", "<!-- from: examples/gone.go -->\n```go\none()\n```", "file does not exist"},
		{"a path outside", "<!-- from: ../main.go -->\n```go\none()\n```", "by its path from the root"},
		{"not a Go file", "<!-- from: go.work -->\n```go\none()\n```", "name a Go file"},
		{"an ignored file", "<!-- from: examples/ignored.go -->\n```go\none()\n```", "build constraint"},
		{"an ignored directory", "<!-- from: testdata/main.go -->\n```go\none()\n```", "directories named testdata"},
		{"an unused module", "<!-- from: elsewhere/main.go -->\n```go\none()\n```", "go.work does not use"},

		{"links that lead somewhere", "# Top\n[a](docs/other.md) ![b](<docs/images/flow.svg>) [c](#top) [d](docs \"title\")\n" +
			"[e](docs/other.md#its-go-a-b-d_e) [f](docs/other.md#twice-1) [g](go.work#L1)\n[h]: docs/other.md#twice\n", ""},
		{"links elsewhere", "[a](https://example.com/x.md#y) [b](mailto:a@example.com) `[c](no.md)` [^1]: x", ""},
		{"a missing file", "text\n[a](docs/none.md)", "page.md:2: link docs/none.md: open docs/none.md"},
		{"a missing image", "![a](none.png \"title\")", "link none.png"},
		{"a missing definition", "[a]: none.md", "link none.md"},
		{"missing in HTML", `<a href="none.md">`, "link none.md"},
		{"a missing heading", "[a](docs/other.md#no-heading)", "docs/other.md has no heading #no-heading"},
		{"a missing heading here", "[a](#here)", "page.md has no heading #here"},
		{"a link out of the tree", "[a](../x.md)", "within the repository"},
		{"a link from the root", "[a](/docs/other.md)", "relative to the page"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tree := maps.Clone(tree)
			tree["page.md"] = &fstest.MapFile{Data: []byte(test.page)}
			problems := docscheck.Page(tree, modules, "page.md")
			if test.want == "" {
				require.Empty(t, problems)
			} else {
				require.Contains(t, strings.Join(problems, "\n"), test.want)
			}
		})
	}
}
