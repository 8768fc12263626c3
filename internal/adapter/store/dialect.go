package store

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/pressly/goose/v3"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
)

// dialect is what differs between databases.
type dialect struct {
	goose goose.Dialect
	// nowSQL gives the database's clock in UTC microseconds; "" when it is the process's.
	nowSQL string
	// forUpdate and skipLocked end a SELECT that takes row locks; "" where every write transaction is alone.
	forUpdate, skipLocked string
	open                  func(rest string) (write, read *bun.DB, err error)
	isUnique              func(error) bool
	isRetryable           func(error) bool
}

func dialectOf(dsn string) (*dialect, string, error) {
	scheme, rest, ok := strings.Cut(dsn, ":")
	if ok && scheme == "sqlite" && rest != "" {
		return sqlite, rest, nil
	}
	return nil, "", errors.New("database URL must be sqlite:<file>")
}

// Extended result codes of SQLite, https://www.sqlite.org/rescode.html.
const (
	sqliteBusy                 = 5
	sqliteConstraintPrimaryKey = 1555
	sqliteConstraintUnique     = 2067
)

var sqlite = &dialect{
	goose: goose.DialectSQLite3,
	open:  openSQLite,
	isUnique: func(err error) bool {
		c := sqliteCode(err)
		return c == sqliteConstraintUnique || c == sqliteConstraintPrimaryKey
	},
	isRetryable: func(err error) bool { return sqliteCode(err)&0xff == sqliteBusy },
}

func sqliteCode(err error) int {
	var e interface{ Code() int }
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

// openSQLite opens one writing connection, whose transactions take the write lock at BEGIN, and a pool of readers. WAL lets them
// work side by side; synchronous=FULL makes a commit durable before it returns.
func openSQLite(file string) (write, read *bun.DB, err error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, nil, err
	}
	// The database holds sealed patient fields and token hashes: it is made private before SQLite creates it with the umask.
	f, err := os.OpenFile(abs, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator's own configuration names the file
	if err != nil {
		return nil, nil, err
	}
	if err := f.Close(); err != nil {
		return nil, nil, err
	}
	dsn := func(extra ...string) string {
		q := url.Values{"_pragma": append([]string{
			"busy_timeout(10000)", "foreign_keys(1)", "temp_store(memory)", "cache_size(-16000)",
		}, extra...)}
		return (&url.URL{Scheme: "file", Path: abs, RawQuery: q.Encode()}).String()
	}
	w, err := sql.Open("sqlite", dsn("journal_mode(WAL)", "synchronous(FULL)")+"&_txlock=immediate")
	if err != nil {
		return nil, nil, err
	}
	w.SetMaxOpenConns(1)
	if err := w.Ping(); err != nil { //nolint:noctx // opening a local file
		return nil, nil, errors.Join(fmt.Errorf("open %s: %w", filepath.Base(file), err), w.Close())
	}
	r, err := sql.Open("sqlite", dsn("query_only(1)"))
	if err != nil {
		return nil, nil, errors.Join(err, w.Close())
	}
	const readers = 8
	r.SetMaxOpenConns(readers)
	r.SetMaxIdleConns(readers)
	d := sqlitedialect.New()
	return bun.NewDB(w, d), bun.NewDB(r, d), nil
}

// locked adds a locking clause where the database has one.
func locked(q *bun.SelectQuery, clause string) *bun.SelectQuery {
	if clause == "" {
		return q
	}
	return q.For(clause)
}
