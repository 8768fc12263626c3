package cli

import (
	"errors"
	"path/filepath"

	"github.com/spf13/cobra"

	"kenkyo/internal/edge/durable"
	"kenkyo/internal/edge/spool"
	"kenkyo/internal/fault"
)

const retryLong = `Puts held items back in the queue, to be sent again unchanged: by a running agent at its next round, otherwise by the next run or
send. Use it when the cause was on the platform's side and has been mended.`

func (p *Program) retry() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "retry ID… | --all", Short: "Put held items back in the queue", Long: retryLong,
		RunE: func(_ *cobra.Command, ids []string) error {
			return p.onHeld(ids, all, p.text.retried, (*spool.Spool).Retry)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every held item")
	return cmd
}

// onHeld applies an action to the named items, or to all held ones.
func (p *Program) onHeld(texts []string, all bool, done string, action func(*spool.Spool, spool.ItemID) error) error {
	if all == (len(texts) > 0) {
		return usage(errors.New("name item IDs, or give --all"))
	}
	queue, err := spool.Attach(filepath.Join(p.data, "spool"), durable.OS{})
	if err != nil {
		return err
	}
	var ids []spool.ItemID
	for _, text := range texts {
		id, err := spool.ParseItemID(text)
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	if all {
		items, err := queue.List(spool.Held)
		if err != nil {
			return err
		}
		for _, it := range items {
			ids = append(ids, it.ID)
		}
	}
	for _, id := range ids {
		if err := action(queue, id); err != nil {
			if fault.Is(err, fault.Conflict) {
				return usage(err) // it is not held: nothing is busy
			}
			return err
		}
		if !p.json {
			say(p.Stdout, done+"\n", id)
		}
	}
	if p.json {
		if ids == nil {
			ids = []spool.ItemID{}
		}
		return p.print(map[string]any{"items": ids})
	}
	return nil
}
