// Package docscheck checks the Markdown pages of the repository: their Go blocks must
// quote files that are compiled, and their relative links must lead to files and
// headings that exist. CONTRIBUTING.md explains the rule.
package docscheck

import (
	"errors"
	"fmt"
	"go/build"
	"io"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Modules returns the directories in go.work whose packages "go test work" compiles.
// It returns an error if a module does not exist.
func Modules(tree fs.FS) ([]string, error) {
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

// Tree checks every Markdown page in a tree. modules are the result of [Modules].
// Tree returns the number of pages, and the problems that it found. It skips
// directories that begin with a dot, and those named testdata.
func Tree(tree fs.FS, modules []string) (pages int, problems []string, err error) {
	err = fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"):
			return fs.SkipDir
		case path.Ext(name) == ".md":
			problems = append(problems, Page(tree, modules, name)...)
			pages++
		}
		return nil
	})
	return pages, problems, err
}

// Page checks one page of a tree, and returns the problems that it found.
func Page(tree fs.FS, modules []string, name string) []string {
	c := checker{tree: tree, modules: modules}
	c.check(name)
	return c.problems
}

// A checker collects the problems of a page.
type checker struct {
	tree     fs.FS
	modules  []string
	problems []string
}

func (c *checker) report(page string, line int, format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf("%s:%d: %s", page, line, fmt.Sprintf(format, args...)))
}

func (c *checker) check(name string) {
	text, err := fs.ReadFile(c.tree, name)
	if err != nil {
		c.report(name, 1, "%v", err)
		return
	}
	page := parsePage(string(text))
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

func (c *checker) checkQuote(block goBlock) error {
	if err := c.checkCompiled(block.from); err != nil {
		return err
	}
	source, err := fs.ReadFile(c.tree, block.from)
	if err != nil {
		return err
	}
	return checkPassages(splitLines(string(source)), block.lines)
}

// checkCompiled returns an error for a file that neither "go vet work" nor "go test
// work" compiles.
func (c *checker) checkCompiled(file string) error {
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

// checkPassages looks in the source for each passage of a block, in order. Lines "//
// ..." separate the passages, and each passage may have its own indentation.
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
		if passage = dedent(passage); len(passage) == 0 {
			continue
		}
		at := 0
		for at+len(passage) <= len(source) && !slices.Equal(dedent(source[at:at+len(passage)]), passage) {
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

// notQuoted returns an error that names the line at which the quotation differs from
// the source.
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

// dedent removes empty lines at both ends, and the indentation that all lines share.
func dedent(lines []string) []string {
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

// splitLines splits a text into lines, without the spaces at their ends.
func splitLines(text string) []string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " \t\r")
	}
	return lines
}

// checkLink checks a link within the repository. It does not check links to other
// sites.
func (c *checker) checkLink(page, target string) error {
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
	} else if err == nil && link.Fragment != "" && !parsePage(string(text)).anchors[link.Fragment] {
		err = fmt.Errorf("%s has no heading #%s", file, link.Fragment)
	}
	return err
}

type (
	// A markdown holds the parts of a Markdown page that are checked.
	markdown struct {
		blocks  []goBlock // the fenced Go blocks
		links   []pageLink
		anchors map[string]bool // the targets of links, without #
		strays  []int           // lines of from: comments without a Go block below
	}
	goBlock struct {
		line  int
		from  string
		lines []string
	}
	pageLink struct {
		line   int
		target string
	}
)

var (
	fenceLine   = regexp.MustCompile("^\\s*(```+|~~~+)\\s*([^\\s`]*)[^`]*$")
	fromComment = regexp.MustCompile(`^\s*<!--\s*from:\s*(\S+)\s*-->\s*$`)
	headingLine = regexp.MustCompile(`^ {0,3}#{1,6}\s+(.*?)(?:\s+#+)?\s*$`)
	codeSpan    = regexp.MustCompile("`+[^`]+`+")
	anchorTag   = regexp.MustCompile(`<[^>]+\s(?:id|name)="([^"]+)"`)
	linkText    = regexp.MustCompile(`!?\[([^\]]*)\]\([^)]*\)`)
	// Inline links, reference definitions and HTML.
	linkTarget = regexp.MustCompile(`\]\(\s*<?([^\s<>()]+)|^ {0,3}\[[^\]^]+\]:\s*<?([^\s<>]+)|\s(?:href|src)="([^"]+)"`)
)

func parsePage(text string) markdown {
	page := markdown{anchors: map[string]bool{}}
	lines := splitLines(text)
	from, fromLine := "", 0 // the last from: comment, until its fence
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		fence := fenceLine.FindStringSubmatch(line)
		isGo := fence != nil && slices.Contains([]string{"go", "golang"}, strings.ToLower(fence[2]))
		if from != "" && !isGo && (line != "" || i+1 > fromLine+1) {
			page.strays = append(page.strays, fromLine)
			from = ""
		}
		if fence != nil {
			begin := i + 1
			for i++; i < len(lines); i++ {
				// A fence ends at a fence of the same kind that is as long or longer.
				end := strings.TrimSpace(lines[i])
				if strings.HasPrefix(end, fence[1]) && strings.Trim(end, fence[1][:1]) == "" {
					break
				}
			}
			if isGo {
				page.blocks = append(page.blocks, goBlock{line: begin, from: from, lines: lines[begin:min(i, len(lines))]})
				from = ""
			}
			continue
		}
		if match := fromComment.FindStringSubmatch(line); match != nil {
			from, fromLine = match[1], i+1
			continue
		}
		if heading := headingLine.FindStringSubmatch(line); heading != nil {
			page.addHeading(heading[1])
		}
		line = codeSpan.ReplaceAllString(line, "")
		for _, match := range anchorTag.FindAllStringSubmatch(line, -1) {
			page.anchors[match[1]] = true
		}
		for _, match := range linkTarget.FindAllStringSubmatch(line, -1) {
			page.links = append(page.links, pageLink{line: i + 1, target: match[1] + match[2] + match[3]})
		}
	}
	if from != "" {
		page.strays = append(page.strays, fromLine)
	}
	return page
}

// addHeading adds the anchor that GitHub makes of a heading: its letters, digits,
// hyphens and underscores in lower case, hyphens for spaces, and a number if the
// anchor exists already.
func (p *markdown) addHeading(text string) {
	slug := strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.In(r, unicode.L, unicode.M, unicode.N):
			return unicode.ToLower(r)
		}
		return -1
	}, linkText.ReplaceAllString(text, "$1"))
	anchor := slug
	for n := 1; p.anchors[anchor]; n++ {
		anchor = fmt.Sprintf("%s-%d", slug, n)
	}
	p.anchors[anchor] = true
}
