// Package store keeps rows: it implements the store interfaces that clinic and trust packages declare, over one SQL database.
// One implementation serves every database; what differs lies in dialect.go. A public method opens the transaction, a private
// function takes it. Blobs and keys in clear are never here.
//
// Lock order within a transaction: field_image rows of the own claim, image_set rows by ascending request_id, then
// release_counter rows by ascending facility_id.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"kenkyo/internal/fault"
	"kenkyo/internal/lab"
	"kenkyo/internal/trust/audit"
)

// Store is an open database. Safe for concurrent use.
type Store struct {
	dialect *dialect
	write   *bun.DB // on SQLite one connection whose transactions are immediate; elsewhere the same pool as read
	read    *bun.DB
	clock   func() time.Time // used where the process's clock is the database's: SQLite
}

// Option changes how a store is opened.
type Option func(*Store)

// WithClock replaces the clock of an embedded database, for tests that move time.
func WithClock(now func() time.Time) Option { return func(s *Store) { s.clock = now } }

// Open opens the database at url and brings its schema up to date. "sqlite:<file>" is an embedded database, created when it does
// not exist. fault.Invalid for another scheme, fault.Unavailable when it cannot be opened or migrated.
func Open(ctx context.Context, url string, opts ...Option) (*Store, error) {
	const op = "store.Open"
	d, rest, err := dialectOf(url)
	if err != nil {
		return nil, fault.E(op, fault.Invalid, err)
	}
	s := &Store{dialect: d, clock: time.Now}
	for _, o := range opts {
		o(s)
	}
	if s.write, s.read, err = d.open(rest); err != nil {
		return nil, fault.E(op, fault.Unavailable, err)
	}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(fault.E(op, fault.Unavailable, err), s.Close())
	}
	return s, nil
}

// Close ends all connections.
func (s *Store) Close() error {
	err := s.write.Close()
	if s.read != s.write {
		err = errors.Join(err, s.read.Close())
	}
	return err
}

// SQL gives the writing connection pool, for tests that damage what is stored.
func (s *Store) SQL() *sql.DB { return s.write.DB }

// Ping reports whether the database answers; fault.Unavailable otherwise.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	if err := s.read.NewRaw("SELECT 1").Scan(ctx, &one); err != nil {
		return fault.E("store.Ping", fault.Unavailable, err)
	}
	return nil
}

// inTx runs fn in a durable transaction and turns database errors into kinds. fn may run again when the database asks for it.
func (s *Store) inTx(ctx context.Context, op string, fn func(ctx context.Context, tx bun.Tx) error) error {
	const attempts = 5
	var err error
	for range attempts {
		err = s.write.RunInTx(ctx, nil, fn)
		if err == nil || !s.dialect.isRetryable(err) || ctx.Err() != nil {
			break
		}
	}
	return s.wrap(op, err)
}

// wrap gives a database error its kind; errors that carry one keep it.
func (s *Store) wrap(op string, err error) error {
	var typed *fault.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &typed):
		return fault.E(op, typed.Kind, err)
	case errors.Is(err, sql.ErrNoRows):
		return fault.E(op, fault.NotFound, errors.New("no such record"))
	case s.dialect.isUnique(err):
		return fault.E(op, fault.Conflict, errors.New("a record with this identity exists"))
	}
	return fault.E(op, fault.Unavailable, fmt.Errorf("database: %w", err))
}

// now is the database's clock, to the microsecond.
func (s *Store) now(ctx context.Context, db bun.IDB) (time.Time, error) {
	if s.dialect.nowSQL == "" {
		return s.clock().UTC().Truncate(time.Microsecond), nil
	}
	var us int64
	if err := db.NewRaw(s.dialect.nowSQL).Scan(ctx, &us); err != nil {
		return time.Time{}, err
	}
	return time.UnixMicro(us).UTC(), nil
}

// Record writes an audit event for what changed no row: a model added to the registry, blobs swept. Its time is the database's.
func (s *Store) Record(ctx context.Context, e audit.Event) error {
	return s.inTx(ctx, "store.Record", func(ctx context.Context, tx bun.Tx) error {
		now, err := s.now(ctx, tx)
		if err != nil {
			return err
		}
		e.At = now
		return record(ctx, tx, e)
	})
}

// record writes audit events in the caller's transaction.
func record(ctx context.Context, tx bun.IDB, events ...audit.Event) error {
	rows := make([]auditRow, len(events))
	for i, e := range events {
		rows[i] = auditRow{
			ID: lab.NewEventID(), At: e.At.UnixMicro(), FacilityID: string(e.Facility), Actor: e.Actor,
			Action: string(e.Action), Object: e.Object, Detail: e.Detail, TraceID: e.TraceID,
		}
	}
	if len(rows) == 0 {
		return nil
	}
	_, err := tx.NewInsert().Model(&rows).Exec(ctx)
	return err
}

// micros and fromMicros store an optional time.
func micros(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMicro(), Valid: !t.IsZero()}
}

func fromMicros(v sql.NullInt64) time.Time {
	if !v.Valid {
		return time.Time{}
	}
	return time.UnixMicro(v.Int64).UTC()
}

func joinFlags(flags []string) string { return strings.Join(flags, ",") }

func splitFlags(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}
