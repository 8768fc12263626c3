package cli

import (
	"context"
	"errors"
	"strings"

	"kenkyo/internal/edge"
	"kenkyo/internal/edge/uplink"
	"kenkyo/internal/fault"
)

// texts is everything a person at the hospital reads about how things stand, in one language. Help is in English.
type texts struct {
	enrolled, queued, held, unanswered, retried, discarded string

	notEnrolled, device, agent, running, stopped, link, lastContact string
	waiting, heldWord, sent, answered, damaged, unreadable          string
	why, todo, attempts                                             string
	busy, offline, someHeld, ended                                  string

	links  map[edge.Link]string
	advise map[int]string // by HTTP status; 0 is for all others
}

var english = texts{
	enrolled:   "Enrolled: device %s of facility %s. Data folder: %s",
	queued:     "Stored safely as %s, not sent yet. %s",
	held:       "Not accepted: %s is held. %s",
	unanswered: "%s was accepted; its result is not there yet. %s",
	retried:    "%s is back in the queue.",
	discarded:  "%s is deleted.",

	notEnrolled: "This computer is not enrolled. Ask the platform's administrator for a code, then: kenkyo-edge enroll --server URL --code CODE",
	device:      "Device", agent: "Agent", running: "running", stopped: "not running", link: "Platform", lastContact: "Last contact",
	waiting: "Waiting", heldWord: "Held", sent: "Sent, no final result yet", answered: "Answered in the last 7 days",
	damaged: "Damaged entry in the queue", unreadable: "In the watched folder, cannot be sent until changed:",
	why: "Why", todo: "What to do", attempts: "Last attempt",
	busy: "Not possible now", offline: "The platform cannot be reached", ended: "Stopped before the end; nothing is lost.",
	someHeld: "Some items need attention: see \"kenkyo-edge status\"",

	links: map[edge.Link]string{
		edge.StateUnknown: "not tried yet", edge.StateOK: "connected",
		edge.StateOffline:       "cannot be reached; sending is tried again by itself",
		edge.StateTokenRefused:  "refuses this device. Ask the administrator for a new code, then: kenkyo-edge enroll --replace …",
		edge.StateCannotDeliver: "results cannot be delivered; check the results folder",
	},
	advise: map[int]string{
		0:   "correct the cause and send the files again, then \"kenkyo-edge discard ID\"; or \"kenkyo-edge retry ID\" when the platform was mended",
		200: "something on the way changes the images: call hospital IT; then \"kenkyo-edge retry ID\"",
		403: "ask the platform's administrator to allow this device; then \"kenkyo-edge retry ID\"",
		413: "the images are too large: send fewer or smaller ones, then \"kenkyo-edge discard ID\"",
	},
}

var japanese = texts{
	enrolled:   "登録しました: 装置 %s(施設 %s)。データフォルダー: %s",
	queued:     "%s として安全に保存しました。まだ送信されていません。%s",
	held:       "受理されませんでした: %s は保留中です。%s",
	unanswered: "%s は受理されました。結果はまだ届いていません。%s",
	retried:    "%s を送信待ちに戻しました。",
	discarded:  "%s を削除しました。",

	notEnrolled: "このコンピューターは未登録です。管理者から登録コードを受け取り、kenkyo-edge enroll --server URL --code CODE を実行してください。",
	device:      "装置", agent: "エージェント", running: "動作中", stopped: "停止中", link: "プラットフォーム", lastContact: "最終通信",
	waiting: "送信待ち", heldWord: "保留", sent: "送信済み(最終結果待ち)", answered: "回答済み(過去7日)",
	damaged: "破損した項目があります", unreadable: "監視フォルダー内に、修正されるまで送信できないものがあります:",
	why: "理由", todo: "対応", attempts: "直近の試行",
	busy: "今は実行できません", offline: "プラットフォームに接続できません", ended: "途中で停止しました。データは失われていません。",
	someHeld: "対応が必要な項目があります。kenkyo-edge status で確認してください",

	links: map[edge.Link]string{
		edge.StateUnknown: "未接続", edge.StateOK: "接続済み",
		edge.StateOffline:       "接続できません。自動的に再送します",
		edge.StateTokenRefused:  "この装置は拒否されています。管理者から新しいコードを受け取り、kenkyo-edge enroll --replace … を実行してください",
		edge.StateCannotDeliver: "結果を書き込めません。結果フォルダーを確認してください",
	},
	advise: map[int]string{
		0:   "原因を修正して画像を送り直し、kenkyo-edge discard ID を実行してください。プラットフォーム側が修正された場合は kenkyo-edge retry ID を実行してください",
		200: "通信経路で画像が変更されています。病院の情報システム部門に連絡し、解決後に kenkyo-edge retry ID を実行してください",
		403: "管理者にこの装置の許可を依頼し、その後 kenkyo-edge retry ID を実行してください",
		413: "画像が大きすぎます。枚数を減らすか小さくして送り直し、kenkyo-edge discard ID を実行してください",
	},
}

// error gives the text for an error a person must act on; all others keep their own words.
func (t texts) error(err error) string {
	problem := uplink.ProblemOf(err)
	switch {
	case errors.Is(err, edge.ErrNotEnrolled):
		return t.notEnrolled
	case errors.Is(err, edge.ErrHeld):
		return t.someHeld
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return t.ended
	case problem != nil && problem.Verdict == uplink.TokenRefused:
		return t.link + ": " + t.links[edge.StateTokenRefused]
	case problem != nil && problem.Verdict == uplink.WaitAll:
		return t.offline + ": " + problem.Error()
	case fault.Is(err, fault.Conflict):
		return t.busy + ": " + fault.Message(err)
	}
	return fault.Message(err)
}

// advice says what to do about an item the platform refused with this HTTP status.
func (t texts) advice(status int) string {
	if text, ok := t.advise[status]; ok {
		return text
	}
	return t.advise[0]
}

// textsFor gives the texts of a language; English for one that is not known.
func textsFor(lang string) texts {
	if lang == "ja" {
		return japanese
	}
	return english
}

// pickLang follows the flag, then the environment, then the system.
func pickLang(flag string, getenv func(string) string) string {
	if flag != "" {
		return flag
	}
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := getenv(name); v != "" {
			if strings.HasPrefix(v, "ja") {
				return "ja"
			}
			return "en"
		}
	}
	return systemLang()
}
