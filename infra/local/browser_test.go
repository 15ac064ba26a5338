//go:build browser

package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"platform-api-connector/shared/config"
	"platform-api-connector/shared/sandbox"
)

// findChromium returns the path of the browser: the value of CHROME, or the first
// Chromium on PATH.
func findChromium() (string, error) {
	if path := os.Getenv("CHROME"); path != "" {
		return path, nil
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("no Chromium: install one (Debian: apt-get install chromium; macOS: brew install --cask chromium), or name it in CHROME")
}

// tab is a tab of a headless Chromium.
type tab struct {
	t           *testing.T
	ctx         context.Context
	screenshots string
}

func openTab(t *testing.T) tab {
	t.Helper()
	path, err := findChromium()
	if err != nil {
		t.Fatal(err)
	}
	root, err := moduleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	screenshots := filepath.Join(root, "build", "screenshots")
	if err := os.MkdirAll(screenshots, 0o755); err != nil {
		t.Fatal(err)
	}
	flags := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.NoFirstRun,
		chromedp.DisableGPU, chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.WindowSize(1200, 900))
	browser, closeBrowser := chromedp.NewExecAllocator(context.Background(), flags...)
	t.Cleanup(closeBrowser)
	ctx, closeTab := chromedp.NewContext(browser)
	t.Cleanup(closeTab)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	return tab{t, ctx, screenshots}
}

func (b tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.fail(err)
	}
}

// value runs an action and returns its value.
func value[T any](b tab, action chromedp.Action[T]) T {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, action)
	if err != nil {
		b.fail(err)
	}
	return value
}

// fail reports an error and the text of the page.
func (b tab) fail(err error) {
	b.t.Helper()
	text, _ := chromedp.Run(b.ctx, chromedp.Text(chromedp.CSS("body")))
	b.t.Fatalf("%v, on the page:\n%s", err, text)
}

// press clicks an element and waits for the next page.
func (b tab) press(selector chromedp.CSS) {
	b.t.Helper()
	if _, err := chromedp.RunResponse(b.ctx, chromedp.Click(selector)); err != nil {
		b.fail(err)
	}
}

func (b tab) text(selector chromedp.CSS) string {
	b.t.Helper()
	return value(b, chromedp.Text(selector))
}

// screenshot saves an image of the page.
func (b tab) screenshot(name string) {
	b.t.Helper()
	png := value(b, chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(b.screenshots, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// connect presses Connect on the start page and answers the platform.
func (b tab) connect(home, platform string, answer chromedp.CSS) {
	b.t.Helper()
	b.do(chromedp.Navigate(home))
	b.press(chromedp.CSS("#" + platform + " button.first"))
	b.do(chromedp.WaitVisible(answer))
	b.screenshot("consent-" + platform)
	b.press(answer)
}

func TestBrowser(t *testing.T) {
	t.Run("connects_every_platform_from_the_start_page", connectFromStartPage)
	t.Run("answers_a_reload_of_the_callback_again", reloadCallback)
	t.Run("connects_the_accounts_that_the_person_chose", chooseAccounts)
}

func connectFromStartPage(t *testing.T) {
	b := openTab(t)
	w := newWorld(t, nil)
	home := w.s.servers.front.url + "/"
	b.do(chromedp.Navigate(home))
	b.screenshot("start-empty")

	b.connect(home, "youtube", "#deny")
	if notice := b.text("#notice"); notice != "Not connected: access was declined, or there was nothing to connect (AccessDenied)." {
		t.Errorf("after a denied consent, the page says %q", notice)
	}
	for platform, accounts := range accountsOf {
		b.connect(home, platform, "#allow")
		want := plural(accounts, "account") + " connected."
		if notice := b.text("#notice"); notice != want {
			t.Errorf("%s: the page says %q, want %q", platform, notice, want)
		}
		cards := value(b, chromedp.Evaluate[int](`document.querySelectorAll('.connection[data-platform="`+platform+`"][data-status="active"]').length`))
		if cards != accounts {
			t.Errorf("%s: %d connections on the page, want %d", platform, cards, accounts)
		}
	}
	b.screenshot("start-connected")

	b.press(`form[action$="/token"] button`)
	if notice := b.text("#notice"); !strings.HasPrefix(notice, "Token handed out for ") {
		t.Errorf("Get token says %q", notice)
	}
	w.box.Kill(sandbox.YouTube, "", 0)
	b.press(`.connection[data-platform="youtube"] form[action$="/refresh"] button`)
	b.do(chromedp.WaitVisible(chromedp.CSS(`.connection[data-platform="youtube"][data-status="needs_reauth"]`)))
	b.do(chromedp.Click(chromedp.CSS("#youtube summary")))
	b.screenshot("start-needs-reauthorization")

	dark := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}}
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, dark); err != nil {
		t.Fatal(err)
	}
	b.screenshot("start-dark")
	b.do(chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile), chromedp.Navigate(home))
	b.screenshot("start-mobile")
	if value(b, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > document.documentElement.clientWidth`)) {
		t.Error("the page is wider than the screen of a phone")
	}
}

// reloadCallback connects by a link without a return URL, and reloads its last page.
func reloadCallback(t *testing.T) {
	b := openTab(t)
	w := newWorld(t, nil)
	link, _ := w.must(http.MethodPost, "/links", object{"platform": "youtube", "owner": "acme"})["url"].(string)
	w.secrets.add("a connect link", link[strings.LastIndex(link, "/")+1:])
	b.do(chromedp.Navigate(link), chromedp.WaitVisible(chromedp.CSS("#allow")))
	b.press("#allow")
	first := b.text("main")
	b.do(chromedp.Reload())
	if again := b.text("main"); again != first || !strings.Contains(first, "YouTube is connected") {
		t.Errorf("the page says %q, and after a reload %q", first, again)
	}
}

// chooseAccounts chooses one of three Pages. The form leads to the product, which has
// another origin than the connector.
func chooseAccounts(t *testing.T) {
	b := openTab(t)
	product := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "<title>Product</title><h1>Welcome back</h1>")
	}))
	t.Cleanup(product.Close)
	w := newWorld(t, map[string]string{config.ReturnOrigins: product.URL})
	link, _ := w.must(http.MethodPost, "/links", object{"platform": "facebook", "owner": "acme", "choose": true, "return_url": product.URL + "/done"})["url"].(string)
	w.secrets.add("a connect link", link[strings.LastIndex(link, "/")+1:])
	b.do(chromedp.Navigate(link), chromedp.WaitVisible(chromedp.CSS("#allow")))
	b.press("#allow")
	b.screenshot("choose")
	b.press("button")
	if text := b.text("main"); !strings.Contains(strings.ToLower(text), "choose at least one account") {
		t.Errorf("with nothing chosen the page says %q", text)
	}
	b.screenshot("choose-nothing")
	b.do(chromedp.Click(chromedp.CSS(`input[value="200000000000002"]`)))
	b.press("button")
	if text := b.text("h1"); text != "Welcome back" {
		t.Errorf("after the choice the page says %q", text)
	}
	list, _ := w.must(http.MethodGet, "/connections?owner=acme", nil)["connections"].([]any)
	if len(list) != 1 || list[0].(object)["account_id"] != "200000000000002" {
		t.Errorf("connected %v", list)
	}
}
