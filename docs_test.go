package tidings_test

import (
	"errors"
	"fmt"
	"go/build"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"

	"github.com/stretchr/testify/require"
)

// TestDocs keeps every Markdown page of the repository true: its Go blocks quote
// files that are compiled, and its relative links lead somewhere. CONTRIBUTING.md
// has the rule.
func TestDocs(t *testing.T) {
	t.Parallel()
	tree := os.DirFS(".")
	modules, err := docModules(tree)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("a module cache has the root module alone, without the programs that the pages quote")
	}
	require.NoError(t, err)

	docs := docChecker{tree: tree, modules: modules}
	pages := 0
	require.NoError(t, fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"):
			return fs.SkipDir
		case path.Ext(name) == ".md":
			docs.check(name)
			pages++
		}
		return nil
	}))
	require.NotZero(t, pages)
	if len(docs.problems) > 0 {
		require.Fail(t, "the documentation is not true", strings.Join(docs.problems, "\n"))
	}
}

// docModules reads from go.work the directories whose packages "go test work"
// compiles. A module that does not exist is an error.
func docModules(tree fs.FS) ([]string, error) {
	text, err := fs.ReadFile(tree, "go.work")
	if err != nil {
		return nil, err
	}
	var modules []string
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(strings.TrimPrefix(line, "use "), "//")
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, ".") {
			continue
		}
		module := path.Clean(line)
		if _, err := fs.Stat(tree, path.Join(module, "go.mod")); err != nil {
			return nil, err
		}
		modules = append(modules, module)
	}
	return modules, nil
}

// A docChecker collects what is wrong with the Markdown pages of a tree.
type docChecker struct {
	tree     fs.FS
	modules  []string
	problems []string
}

func (c *docChecker) report(page string, line int, format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf("%s:%d: %s", page, line, fmt.Sprintf(format, args...)))
}

func (c *docChecker) check(name string) {
	text, err := fs.ReadFile(c.tree, name)
	if err != nil {
		c.report(name, 1, "%v", err)
		return
	}
	page := parseDocPage(string(text))
	for _, line := range page.strays {
		c.report(name, line, "a from: comment stands above a Go block, with one empty line between at most")
	}
	for _, block := range page.blocks {
		if block.from == "" {
			c.report(name, block.line, "this Go block quotes no file: keep its code in a file that is compiled, "+
				"and write <!-- from: path/to/file.go --> on the line above the fence")
		} else if err := c.checkQuote(block); err != nil {
			c.report(name, block.line, "cannot quote %s: %v", block.from, err)
		}
	}
	for _, link := range page.links {
		if err := c.checkLink(name, link.target); err != nil {
			c.report(name, link.line, "link %s: %v", link.target, err)
		}
	}
}

func (c *docChecker) checkQuote(block docBlock) error {
	if err := c.checkCompiled(block.from); err != nil {
		return err
	}
	source, err := fs.ReadFile(c.tree, block.from)
	if err != nil {
		return err
	}
	return checkPassages(docLines(string(source)), block.lines)
}

// checkCompiled refuses a file that neither "go vet work" nor "go test work" reads.
func (c *docChecker) checkCompiled(file string) error {
	if !fs.ValidPath(file) || path.Ext(file) != ".go" {
		return errors.New("name a Go file by its path from the root, as in examples/quickstart/main.go")
	}
	if _, err := fs.Stat(c.tree, file); err != nil {
		return err
	}
	dir := path.Dir(file)
	for element := range strings.SplitSeq(dir, "/") {
		if element == "testdata" || element == "vendor" || strings.HasPrefix(element, "_") ||
			strings.HasPrefix(element, ".") && element != "." {
			return fmt.Errorf("the go command skips directories named %s", element)
		}
	}
	module := dir
	for module != "." {
		if _, err := fs.Stat(c.tree, path.Join(module, "go.mod")); err == nil {
			break
		}
		module = path.Dir(module)
	}
	if !slices.Contains(c.modules, module) {
		return fmt.Errorf("go.work does not use its module %s", module)
	}
	env := build.Default
	env.JoinPath = path.Join
	env.OpenFile = func(name string) (io.ReadCloser, error) { return c.tree.Open(name) }
	match, err := env.MatchFile(dir, path.Base(file))
	if err == nil && !match {
		err = errors.New("its name or a build constraint keeps it out of the build")
	}
	return err
}

// checkPassages looks in the source for the passages of a block, the lines between
// its "// ..." lines, one after the other. Each has an indentation of its own.
func checkPassages(source, block []string) error {
	found := 0
	for len(block) > 0 {
		end := slices.IndexFunc(block, func(line string) bool { return strings.TrimSpace(line) == "// ..." })
		passage := block
		if end >= 0 {
			passage, block = block[:end], block[end+1:]
		} else {
			block = nil
		}
		if passage = dedentDoc(passage); len(passage) == 0 {
			continue
		}
		at := 0
		for at+len(passage) <= len(source) && !slices.Equal(dedentDoc(source[at:at+len(passage)]), passage) {
			at++
		}
		if at+len(passage) > len(source) {
			return notQuoted(source, passage)
		}
		source = source[at+len(passage):]
		found++
	}
	if found == 0 {
		return errors.New("the block has no lines")
	}
	return nil
}

// notQuoted points at the line that the writer has to look at.
func notQuoted(source, passage []string) error {
	for _, line := range passage {
		same := func(s string) bool { return strings.TrimSpace(s) == strings.TrimSpace(line) }
		if !slices.ContainsFunc(source, same) {
			return fmt.Errorf("the file has no line %q after what the block quotes before it", strings.TrimSpace(line))
		}
	}
	return fmt.Errorf("the lines from %q on stand in the file, but not together and not indented like this; "+
		"write // ... for lines that you leave out", strings.TrimSpace(passage[0]))
}

// dedentDoc cuts empty lines at both ends and the indentation that all lines share.
func dedentDoc(lines []string) []string {
	for len(lines) > 0 && lines[0] == "" {
		lines = lines[1:]
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) == 0 {
		return nil
	}
	indent := lines[0][:len(lines[0])-len(strings.TrimLeft(lines[0], " \t"))]
	for _, line := range lines {
		for line != "" && !strings.HasPrefix(line, indent) {
			indent = indent[:len(indent)-1]
		}
	}
	dedented := make([]string, len(lines))
	for i, line := range lines {
		dedented[i] = strings.TrimPrefix(line, indent)
	}
	return dedented
}

// docLines splits a text into lines without the blanks at their ends.
func docLines(text string) []string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " \t\r")
	}
	return lines
}

// checkLink follows a link within the repository; the rest of the web is not ours.
func (c *docChecker) checkLink(page, target string) error {
	link, err := url.Parse(target)
	if err != nil {
		return err
	}
	if link.Scheme != "" || link.Host != "" {
		return nil
	}
	file := path.Join(path.Dir(page), link.Path)
	if link.Path == "" {
		file = page
	}
	if path.IsAbs(link.Path) || !fs.ValidPath(file) {
		return errors.New("link within the repository, and relative to the page")
	}
	text, err := fs.ReadFile(c.tree, file)
	if path.Ext(file) != ".md" {
		_, err = fs.Stat(c.tree, file)
	} else if err == nil && link.Fragment != "" && !parseDocPage(string(text)).anchors[link.Fragment] {
		err = fmt.Errorf("%s has no heading #%s", file, link.Fragment)
	}
	return err
}

type (
	// A docPage is what the checks want of a Markdown page.
	docPage struct {
		blocks  []docBlock // the fenced blocks of Go
		links   []docLink
		anchors map[string]bool // where links may point, without #
		strays  []int           // lines of from: comments with no Go block below
	}
	docBlock struct {
		line  int
		from  string
		lines []string
	}
	docLink struct {
		line   int
		target string
	}
)

var (
	docFence    = regexp.MustCompile("^\\s*(```+|~~~+)\\s*([^\\s`]*)[^`]*$")
	docFrom     = regexp.MustCompile(`^\s*<!--\s*from:\s*(\S+)\s*-->\s*$`)
	docHeading  = regexp.MustCompile(`^ {0,3}#{1,6}\s+(.*?)(?:\s+#+)?\s*$`)
	docCodeSpan = regexp.MustCompile("`+[^`]+`+")
	docAnchor   = regexp.MustCompile(`<[^>]+\s(?:id|name)="([^"]+)"`)
	docLinkText = regexp.MustCompile(`!?\[([^\]]*)\]\([^)]*\)`)
	// Inline links, definitions of references, and HTML.
	docTarget = regexp.MustCompile(`\]\(\s*<?([^\s<>()]+)|^ {0,3}\[[^\]^]+\]:\s*<?([^\s<>]+)|\s(?:href|src)="([^"]+)"`)
)

func parseDocPage(text string) docPage {
	page := docPage{anchors: map[string]bool{}}
	lines := docLines(text)
	from, fromLine := "", 0 // a comment that waits for its fence
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		fence := docFence.FindStringSubmatch(line)
		isGo := fence != nil && slices.Contains([]string{"go", "golang"}, strings.ToLower(fence[2]))
		if from != "" && !isGo && (line != "" || i+1 > fromLine+1) {
			page.strays = append(page.strays, fromLine)
			from = ""
		}
		if fence != nil {
			begin := i + 1
			for i++; i < len(lines); i++ {
				// A fence ends at one of its own kind, as long or longer.
				end := strings.TrimSpace(lines[i])
				if strings.HasPrefix(end, fence[1]) && strings.Trim(end, fence[1][:1]) == "" {
					break
				}
			}
			if isGo {
				page.blocks = append(page.blocks, docBlock{line: begin, from: from, lines: lines[begin:min(i, len(lines))]})
				from = ""
			}
			continue
		}
		if match := docFrom.FindStringSubmatch(line); match != nil {
			from, fromLine = match[1], i+1
			continue
		}
		if heading := docHeading.FindStringSubmatch(line); heading != nil {
			page.addHeading(heading[1])
		}
		line = docCodeSpan.ReplaceAllString(line, "")
		for _, match := range docAnchor.FindAllStringSubmatch(line, -1) {
			page.anchors[match[1]] = true
		}
		for _, match := range docTarget.FindAllStringSubmatch(line, -1) {
			page.links = append(page.links, docLink{line: i + 1, target: match[1] + match[2] + match[3]})
		}
	}
	if from != "" {
		page.strays = append(page.strays, fromLine)
	}
	return page
}

// addHeading adds the anchor that GitHub gives to a heading: its letters, digits,
// hyphens and underscores in lower case, hyphens for spaces, and a number if taken.
func (p *docPage) addHeading(text string) {
	slug := strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.In(r, unicode.L, unicode.M, unicode.N):
			return unicode.ToLower(r)
		}
		return -1
	}, docLinkText.ReplaceAllString(text, "$1"))
	anchor := slug
	for n := 1; p.anchors[anchor]; n++ {
		anchor = fmt.Sprintf("%s-%d", slug, n)
	}
	p.anchors[anchor] = true
}

// TestDocChecker sees the checker refuse what TestDocs relies on it to refuse.
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
	modules, err := docModules(tree)
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
			docs := docChecker{tree: tree, modules: modules}
			docs.check("page.md")
			if test.want == "" {
				require.Empty(t, docs.problems)
			} else {
				require.Contains(t, strings.Join(docs.problems, "\n"), test.want)
			}
		})
	}
}
