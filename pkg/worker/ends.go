package worker

import (
	"slices"
	"strings"

	"sextant/pkg/chat"
	"sextant/pkg/plan"
)

// ends are the tokens that end a generation; nil: the checkpoint's. The model's own files may not name one. A chat model's turns end with
// the tokenizer's EOS too, and with the special token that its chat template writes behind the assistant's words.
func (w *worker) ends() (ids []int32, err error) {
	eos, has := w.tok.EOS()
	roles, err := plan.RolesOf(&w.model)
	if err != nil {
		return nil, bad(err)
	}
	t, isChat := roles.Chat.(*chat.Template)
	switch {
	case !isChat && has && len(w.ck.Config().EOS) == 0:
		return []int32{eos}, nil
	case !isChat:
		return nil, nil
	}
	for _, id := range w.ck.Config().EOS {
		ids = append(ids, int32(id))
	}
	if has {
		ids = append(ids, eos)
	}
	if end := w.tok.EncodeRendered(strings.TrimSpace(t.EndOfTurn())); len(end) > 0 && w.tok.Decode(end[:1]) == "" { // a special token has no text
		ids = append(ids, end[0])
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}
