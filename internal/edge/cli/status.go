package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kenkyo/internal/edge"
)

const statusLong = `Shows how the agent stands with the platform and what the queue holds: waiting, held (with the reason and what to do), and sent but
not answered yet. It shows specimen IDs and file names, which are patient data. Works beside a running agent.

Exit code 4 when anything is held or cannot be read, 5 when this computer is not enrolled or its token is refused.`

func (p *Program) status() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show what waits, what is held and why", Long: statusLong, Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			r, err := edge.ReadReport(p.data)
			if err != nil {
				return err
			}
			if p.json {
				if err := p.print(r); err != nil {
					return err
				}
			} else {
				p.showReport(r)
			}
			switch {
			case !r.Enrolled || r.Link == edge.StateTokenRefused:
				return coded{errSaid, exitIdentity}
			case len(r.Held)+len(r.Problems) > 0 || r.Damaged != "":
				return coded{errSaid, exitHeld}
			}
			return nil
		},
	}
}

func (p *Program) showReport(r edge.Report) {
	t := p.text
	if !r.Enrolled {
		say(p.Stdout, "%s\n", t.notEnrolled)
		return
	}
	say(p.Stdout, "%s: %s (%s)\n", t.device, r.DeviceID, r.Server)
	running := t.stopped
	if r.Running {
		running = t.running
	}
	say(p.Stdout, "%s: %s\n", t.agent, running)
	say(p.Stdout, "%s: %s\n", t.link, t.links[r.Link])
	if r.LinkDetail != "" {
		say(p.Stdout, "  %s\n", r.LinkDetail)
	}
	if !r.LastContact.IsZero() {
		say(p.Stdout, "%s: %s\n", t.lastContact, r.LastContact.Local().Format(time.DateTime))
	}
	say(p.Stdout, "%s: %d   %s: %d   %s: %d   %s: %d\n",
		t.waiting, len(r.Waiting), t.heldWord, len(r.Held), t.sent, len(r.Sent), t.answered, r.Answered)
	if r.Damaged != "" {
		say(p.Stdout, "%s: %s\n", t.damaged, r.Damaged)
	}
	p.showEntries(t.waiting, r.Waiting)
	p.showEntries(t.sent, r.Sent)
	p.showEntries(t.heldWord, r.Held)
	if len(r.Problems) > 0 {
		say(p.Stdout, "\n%s\n", t.unreadable)
	}
	for _, problem := range r.Problems {
		say(p.Stdout, "  %s\n    %s\n", problem.Path, problem.Cause)
	}
}

func (p *Program) showEntries(title string, list []edge.Entry) {
	if len(list) == 0 {
		return
	}
	say(p.Stdout, "\n%s\n", title)
	for _, e := range list {
		say(p.Stdout, "  %s  %s  %s", e.ID, e.CreatedAt.Local().Format(time.DateTime), e.SpecimenID)
		if e.RequestID != "" {
			say(p.Stdout, "  %s", e.RequestID)
		}
		say(p.Stdout, "\n    %s\n", strings.Join(e.Images, ", "))
		switch {
		case e.Reason != nil:
			say(p.Stdout, "    %s: %s\n    %s: %s\n", p.text.why, e.Reason, p.text.todo, p.text.advice(e.Reason.Status))
		case e.LastError != "":
			say(p.Stdout, "    %s (%d): %s\n", p.text.attempts, e.Attempts, e.LastError)
		}
	}
}
