// Package browser opens pages in a real headless Chromium, for tests of what people look at.
package browser

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Page is a page of its own browser. Every method fails the test where it cannot do what it says.
type Page struct {
	t   testing.TB
	ctx context.Context

	mu   sync.Mutex
	said []string // errors of the page and of its console
}

// New starts a browser, which ends with the test. A machine without Chromium fails it.
func New(t testing.TB) *Page {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Fatal("there is no chromium; install Debian's package of that name, or run make deps")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(1200, 900))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	p := &Page{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, p.listen); err != nil {
		t.Fatalf("starting the browser: %v", err)
	}
	return p
}

// listen keeps what the page complains of.
func (p *Page) listen(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			text += " " + x.Description
		}
		p.said = append(p.said, text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" {
			text := string(e.Type)
			for _, a := range e.Args {
				text += fmt.Sprintf(" %s%s", a.Value, a.Description)
			}
			p.said = append(p.said, text)
		}
	}
}

// run carries out an action; what names it.
func run[T any](p *Page, what string, action chromedp.Action[T]) T {
	p.t.Helper()
	out, err := chromedp.Run(p.ctx, action)
	if err != nil {
		p.t.Fatalf("the browser, %s: %v", what, err)
	}
	return out
}

// command is an action of one command of the protocol.
func command[P any](c cdp.Command[P, cdp.Empty], params P) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.Call(ctx, c, params)
		return chromedp.Void{}, err
	}
}

// Open goes to a file and says how long it took until all of it was there.
func (p *Page) Open(path string) time.Duration {
	p.t.Helper()
	began := time.Now()
	run(p, "opening "+path, chromedp.Navigate("file://"+path))
	return time.Since(began)
}

// Eval runs a script in the page and gives its value, a promise's when it is kept.
func Eval[T any](p *Page, script string) T {
	p.t.Helper()
	return run(p, "evaluating "+script, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
}

// Click clicks on what the selector finds first.
func (p *Page) Click(selector string) {
	p.t.Helper()
	run(p, "clicking on "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// Wait waits until the selector finds something that can be seen.
func (p *Page) Wait(selector string) {
	p.t.Helper()
	run(p, "waiting for "+selector, chromedp.WaitVisible(chromedp.CSS(selector)))
}

// Type writes into a field, in place of what is there.
func (p *Page) Type(selector, text string) {
	p.t.Helper()
	run(p, "clearing "+selector, chromedp.Clear(chromedp.CSS(selector)))
	run(p, "typing into "+selector, chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Width makes the window so many pixels wide.
func (p *Page) Width(pixels int64) {
	p.t.Helper()
	run(p, "changing its width", chromedp.EmulateViewport(pixels, 900))
}

// Dark asks for the dark or the light look.
func (p *Page) Dark(dark bool) {
	p.t.Helper()
	look := "light"
	if dark {
		look = "dark"
	}
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: look}}
	run(p, "changing its look", command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}))
}

// NoScripts takes JavaScript from the pages to be opened.
func (p *Page) NoScripts() {
	p.t.Helper()
	run(p, "taking scripts away", command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
}

// PDF prints the page.
func (p *Page) PDF() []byte {
	p.t.Helper()
	return run(p, "printing", chromedp.PrintToPDF(chromedp.PDFPrintBackground()))
}

// Top is as much of the page's top as a window of so many pixels shows, as a PNG.
func (p *Page) Top(width, height int64) []byte {
	p.t.Helper()
	run(p, "changing its size", chromedp.EmulateViewport(width, height))
	return run(p, "taking a picture", chromedp.CaptureScreenshot())
}

// Contrast is the lowest contrast of a text that can be seen to what lies behind it, as WCAG 2.1 computes it (1 to 21), and the text. What is
// disabled does not count.
func (p *Page) Contrast() (lowest float64, text string) {
	p.t.Helper()
	type found struct {
		Ratio float64 `json:"ratio"`
		Text  string  `json:"text"`
	}
	f := Eval[found](p, contrast)
	return f.Ratio, f.Text
}

const contrast = `(() => {
	const parse = (c) => { const m = c.match(/[\d.]+/g); return m ? m.map(Number) : null; };
	const light = ([r, g, b]) => { const f = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
	const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c && (c.length < 4 || c[3] > 0)) return c; } return [255, 255, 255]; };
	let ratio = 21, text = "";
	for (const e of document.body.querySelectorAll("*")) {
		if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility() || e.disabled || ["SCRIPT", "STYLE", "TITLE"].includes(e.tagName.toUpperCase())) continue;
		const style = getComputedStyle(e), front = parse(e.ownerSVGElement ? style.fill : style.color);
		if (!front) continue;
		const [a, b] = [light(front), light(behind(e))], r = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (r < ratio) [ratio, text] = [r, e.tagName + " " + e.textContent.slice(0, 40)];
	}
	return { ratio, text };
})()`

// Errors are what the page and its console complained of so far.
func (p *Page) Errors() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.said...)
}
