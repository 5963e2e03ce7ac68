package notify

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// mostText is how many bytes of text a chat is given: Lark takes requests of 20 KB.
const mostText = 6000

// body is the request as the kind of webhook wants it.
func (h Hook) body(n Notice, now time.Time) ([]byte, error) {
	n.Version = Version
	var v any = n
	switch h.Kind {
	case Lark:
		v = h.lark(n, now)
	case Slack:
		v = map[string]string{"text": "*" + slackText.Replace(n.Title) + "*\n" + slackText.Replace(clip(n.Text))}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("writing the notice: %w", err)
	}
	return b.Bytes(), nil
}

// slackText makes plain text of what Slack would read as links and mentions.
var slackText = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// larkMessage is a rich text message to a custom bot, which OpenCompass's LarkReporter posts too; see "Custom bot guide" on
// open.feishu.cn. Timestamp and Sign are there when the bot has a secret.
type larkMessage struct {
	Timestamp string `json:"timestamp,omitempty"` // seconds since 1970
	Sign      string `json:"sign,omitempty"`
	Type      string `json:"msg_type"`
	Content   struct {
		Post struct {
			Post larkPost `json:"zh_cn"`
		} `json:"post"`
	} `json:"content"`
}

type larkPost struct {
	Title   string       `json:"title"`
	Content [][]larkSpan `json:"content"` // paragraphs of spans
}

type larkSpan struct {
	Tag  string `json:"tag"`
	Text string `json:"text"`
}

func (h Hook) lark(n Notice, now time.Time) larkMessage {
	m := larkMessage{Type: "post"}
	post := &m.Content.Post.Post
	post.Title, post.Content = n.Title, [][]larkSpan{{{"text", clip(n.Text)}}}
	if h.Secret != "" {
		m.Timestamp = strconv.FormatInt(now.Unix(), 10)
		m.Sign = larkSign(m.Timestamp, h.Secret)
	}
	return m
}

// larkSign is the base64 of the HMAC-SHA256 of nothing, its key the timestamp, a newline and the secret.
func larkSign(timestamp, secret string) string {
	return base64.StdEncoding.EncodeToString(hmac.New(sha256.New, []byte(timestamp+"\n"+secret)).Sum(nil))
}

// The codes of Lark's answers that say what to do. Its status is 200 whatever is wrong.
const (
	larkBusy    = 11232 // too many messages
	larkToken   = 19001 // no such bot
	larkSigned  = 19021 // sign or timestamp is wrong
	larkAddress = 19022 // this machine may not post
	larkKeyword = 19024 // none of the words is there that the bot wants
)

// larkAnswer reads {"code":0,"msg":"success"}, or what older bots say: {"StatusCode":0,"StatusMessage":"success"}.
func (h Hook) larkAnswer(answer []byte) (again time.Duration, err error) {
	var a struct {
		Code          *int
		Msg           string
		StatusCode    *int
		StatusMessage string
	}
	if err := json.Unmarshal(answer, &a); err != nil || a.Code == nil && a.StatusCode == nil {
		return never, fmt.Errorf("its answer is not that of a bot%s: is the address right?", h.said(answer))
	}
	code, text := a.Code, a.Msg
	if code == nil {
		code, text = a.StatusCode, a.StatusMessage
	}
	advice := map[int]string{
		larkBusy:    "too many messages come to the bot",
		larkToken:   "there is no such bot; copy its address anew",
		larkSigned:  "the signature is wrong; is the secret that of the bot, and this machine's clock right?",
		larkAddress: "the bot does not take messages from this machine; add its address to the bot's list",
		larkKeyword: `the bot wants a keyword; "sextant" is in every message`,
	}[*code]
	switch {
	case *code == 0:
		return 0, nil
	case advice == "":
		advice = "see the bot's documentation"
	}
	err = fmt.Errorf("it answers code %d%s: %s", *code, h.said([]byte(text)), advice)
	if *code == larkBusy {
		return 0, err
	}
	return never, err
}

// said shows a server's words in one line; "" when it said nothing, or said a secret back.
func (h Hook) said(answer []byte) string {
	text := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, string(answer[:min(len(answer), 200)]))
	for _, secret := range []string{h.Secret, h.path()} {
		if secret != "" && strings.Contains(string(answer), secret) {
			return ""
		}
	}
	if text = strings.Join(strings.Fields(text), " "); text == "" {
		return ""
	}
	return fmt.Sprintf(" (%s)", text)
}

// clip cuts a text that is longer than chats take, after a whole line where there is one, and takes control characters out.
func clip(text string) string {
	text = strings.Map(func(r rune) rune {
		if r != '\n' && unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	if len(text) <= mostText {
		return text
	}
	text = text[:mostText]
	if i := strings.LastIndexByte(text, '\n'); i > 0 {
		text = text[:i]
	}
	return strings.ToValidUTF8(text, "") + "\n..."
}
