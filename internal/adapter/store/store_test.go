package store_test

import (
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite"

	"kenkyo/internal/adapter/store"
	"kenkyo/internal/adapter/store/storetest"
	"kenkyo/internal/fault"
)

func TestSQLite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T, clock *storetest.Clock) *store.Store {
		t.Helper()
		s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "kenkyo.db"), store.WithClock(clock.Now))
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		return s
	})
}

func TestOpenRefusesOtherDatabases(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "kenkyo.db", "oracle://host", "sqlite:"} {
		if _, err := store.Open(t.Context(), url); !fault.Is(err, fault.Invalid) {
			t.Errorf("open %q: got %v, want Invalid", url, err)
		}
	}
}
