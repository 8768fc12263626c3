package cli

import (
	"github.com/spf13/cobra"

	"kenkyo/internal/edge/spool"
)

const discardLong = `Deletes held items with their images from the queue. The original files, in DIR/.sent or where they were sent from, stay.
Correct what was wrong and send them again from there.`

func (p *Program) discard() *cobra.Command {
	return &cobra.Command{
		Use: "discard ID…", Short: "Delete held items", Long: discardLong, Args: args(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, ids []string) error {
			return p.onHeld(ids, false, p.text.discarded, (*spool.Spool).Discard)
		},
	}
}
