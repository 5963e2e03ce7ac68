package clidoc

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/cpuguy83/go-md2man/v2/md2man"
)

// Section is a further section of a man page, its text in Markdown.
type Section struct{ Title, Text string }

// Markdown is the reference of a program: a part for each command, with tables of its flags.
func Markdown(commands []Command) string {
	var b strings.Builder
	for _, c := range commands {
		fmt.Fprintf(&b, "%s %s\n\n%s.\n\n", strings.Repeat("#", c.Depth+2), c.Name, sentence(c.Usage))
		if len(c.Synopsis) > 0 {
			fmt.Fprintf(&b, "```\n%s\n```\n\n", strings.Join(c.Synopsis, "\n"))
		}
		for _, p := range c.Text {
			fmt.Fprintf(&b, "%s\n\n", marked(p))
		}
		if c.Exit != "" {
			fmt.Fprintf(&b, "Exit codes: %s\n\n", marked(c.Exit))
		}
		if len(c.Examples) > 0 {
			fmt.Fprintf(&b, "Example:\n\n```sh\n%s\n```\n\n", strings.Join(c.Examples, "\n"))
		}
		own, note := c.own(commands[0])
		for _, g := range own {
			g.table(&b)
		}
		b.WriteString(note)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func (g Group) table(b *strings.Builder) {
	title := g.Name
	if title == "" {
		title = "flag"
	}
	fmt.Fprintf(b, "| %s | | default |\n|---|---|---|\n", title)
	for _, f := range g.Flags {
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", strings.ReplaceAll(f.call(), "|", `\|`), strings.ReplaceAll(marked(f.about()), "|", `\|`), f.Default)
	}
	b.WriteByte('\n')
}

// call is a flag as it is written.
func (f Flag) call() string {
	text := strings.Join(f.Names, ", ")
	switch {
	case strings.HasPrefix(f.Value, "[="): // it may stand alone
		text += f.Value
	case f.Value != "":
		text += " " + f.Value
	}
	return text
}

// about is what a flag does, and the environment variables that stand for it.
func (f Flag) about() string {
	if len(f.Env) == 0 {
		return f.Text
	}
	return f.Text + " (also $" + strings.Join(f.Env, ", $") + ")"
}

// Man is the man page of a program in a section of the manual.
func Man(commands []Command, section int, version string, further []Section) string {
	root := commands[0]
	var b strings.Builder
	fmt.Fprintf(&b, "%% %q %q %q %q %q\n\n", strings.ToUpper(root.Name), fmt.Sprint(section), "", version, "Sextant")
	fmt.Fprintf(&b, "# NAME\n\n%s - %s\n\n# SYNOPSIS\n\n%s# DESCRIPTION\n\n", root.Name, root.Usage, block(root.Synopsis))
	root.manText(&b)
	if len(root.Groups) > 0 {
		b.WriteString("# OPTIONS\n\n")
		for _, g := range root.Groups {
			if g.Name != "" {
				fmt.Fprintf(&b, "### %s\n\n", g.Name)
			}
			g.list(&b)
		}
	}
	b.WriteString("# COMMANDS\n\n")
	for _, c := range commands[1:] {
		fmt.Fprintf(&b, "### %s\n\n%s.\n\n%s", c.Name, sentence(c.Usage), block(c.Synopsis))
		c.manText(&b)
		own, note := c.own(root)
		for _, g := range own {
			g.list(&b)
		}
		b.WriteString(note)
	}
	if root.Exit != "" {
		fmt.Fprintf(&b, "# EXIT STATUS\n\n%s\n\n", root.Exit)
	}
	for _, s := range further {
		fmt.Fprintf(&b, "# %s\n\n%s\n\n", s.Title, s.Text)
	}
	return roff(b.String())
}

// own are the groups of flags to tell of at a command, and a line for those that the program has too, all alike.
func (c Command) own(root Command) (groups []Group, note string) {
	if c.Depth == 0 {
		return c.Groups, ""
	}
	var shared []string
	for _, g := range c.Groups {
		if g.Name != "" && slices.ContainsFunc(root.Groups, func(r Group) bool { return reflect.DeepEqual(g, r) }) {
			shared = append(shared, g.Name)
			continue
		}
		groups = append(groups, g)
	}
	switch {
	case len(shared) == 0:
		return groups, ""
	case len(groups) == 0 && len(shared) == len(root.Groups):
		return nil, fmt.Sprintf("It has the flags of `%s`, above.\n\n", root.Name)
	}
	return groups, fmt.Sprintf("It also has these flags of `%s`, above: %s.\n\n", root.Name, strings.Join(shared, "; "))
}

func (c Command) manText(b *strings.Builder) {
	for _, p := range c.Text {
		fmt.Fprintf(b, "%s\n\n", marked(p))
	}
	if c.Exit != "" && c.Depth > 0 { // the program's has a section of its own
		fmt.Fprintf(b, "Exit codes: %s\n\n", marked(c.Exit))
	}
	if len(c.Examples) > 0 {
		b.WriteString("Example:\n\n" + block(c.Examples))
	}
}

func (g Group) list(b *strings.Builder) {
	for _, f := range g.Flags {
		text := f.about()
		if f.Default != "" {
			text += " (default: " + f.Default + ")"
		}
		fmt.Fprintf(b, "`%s`\n: %s\n\n", f.call(), marked(text))
	}
}

func block(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return "```\n" + strings.Join(lines, "\n") + "\n```\n\n"
}

// roff renders Markdown. What md2man leaves to the terminal's encoding is ASCII, and minus signs of flags can be copied.
func roff(markdown string) string {
	out := string(md2man.Render([]byte(markdown)))
	out = flagDash.ReplaceAllStringFunc(out, func(s string) string { return strings.ReplaceAll(s, "-", `\-`) })
	return strings.TrimLeft(out, "\n")
}

// flagDash finds the dashes that begin a flag.
var flagDash = regexp.MustCompile(`(?m)(^|[ (B])--?[a-z]`)

func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// literal finds the words of a text that are typed: flags, paths, keys, commands.
var literal = regexp.MustCompile(`^-{1,2}[A-Za-z]|[_*<>\[\]$\\{}|]|/|^[a-z]+\.[a-z]+|=`)

// marked sets the words of a help text that are typed in code; what stands between double quotes too, and dashes that begin no flag stay.
func marked(text string) string {
	words := strings.Split(text, " ")
	for i, w := range words {
		head := w[:len(w)-len(strings.TrimLeft(w, `("`))]
		body := w[len(head):]
		core := strings.TrimRight(body, `.,;:)"?`)
		tail := body[len(core):]
		if strings.HasSuffix(head, `"`) && strings.HasPrefix(tail, `"`) {
			head, tail = head[:len(head)-1], tail[1:]
			words[i] = head + "`" + core + "`" + tail
			continue
		}
		if len(core) > 1 && literal.MatchString(core) && !strings.Contains(core, "`") {
			words[i] = head + "`" + core + "`" + tail
		}
	}
	return strings.Join(words, " ")
}
