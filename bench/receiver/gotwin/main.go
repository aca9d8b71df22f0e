// Gotwin does in Go what the receiver promises: it answers 200 once a delivery is committed, with group commit. It has
// no spool: each group goes straight into PostgreSQL by COPY, so it stands for the fastest way to do without one.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	flushers  = 2 // one group gathers and is sent while the other one's commit waits for the disk
	groupRows = 512
)

var columns = []string{
	"event_id", "object_type", "metric", "timestamp", "payload",
	"_sdc_received_at", "_sdc_batched_at", "_sdc_sequence", "_sdc_table_version",
}

type event struct {
	EventID    string  `json:"event_id"`
	ObjectType *string `json:"object_type"`
	Metric     *string `json:"metric"`
	Timestamp  *int64  `json:"timestamp"`
}

type waiting struct {
	event
	body     []byte
	received time.Time
	stored   chan error
}

type server struct {
	pool     *pgxpool.Pool
	table    pgx.Identifier
	schemas  map[string]string // by the SHA-256 of the token, as in the receiver's registry
	queue    chan *waiting
	sequence atomic.Int64
}

func main() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("WAREHOUSE_DSN"))
	if err != nil {
		log.Fatal(err)
	}
	schema := os.Getenv("SCHEMA")
	s := &server{
		pool:    pool,
		table:   pgx.Identifier{schema, "data"},
		schemas: map[string]string{os.Getenv("TOKEN_HASH"): schema},
		queue:   make(chan *waiting, 4096),
	}
	s.sequence.Store(time.Now().UnixNano())
	for range flushers {
		go s.flush(ctx)
	}
	http.HandleFunc("POST /v1/{schema}/{token}", s.receive)
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(listener, nil))
}

func (s *server) receive(answer http.ResponseWriter, request *http.Request) {
	digest := sha256.Sum256([]byte(request.PathValue("token")))
	if schema, ok := s.schemas[hex.EncodeToString(digest[:])]; !ok || schema != request.PathValue("schema") {
		respond(answer, http.StatusUnauthorized, "unauthorized")
		return
	}
	body, err := io.ReadAll(io.LimitReader(request.Body, 20<<20))
	if err != nil {
		respond(answer, http.StatusServiceUnavailable, "try again")
		return
	}
	w := &waiting{body: body, received: time.Now(), stored: make(chan error, 1)}
	if json.Unmarshal(body, &w.event) != nil || w.EventID == "" || len(w.EventID) > 255 {
		respond(answer, http.StatusBadRequest, "not an event") // the load never sends such a one
		return
	}
	s.queue <- w
	if <-w.stored != nil {
		respond(answer, http.StatusServiceUnavailable, "try again")
		return
	}
	respond(answer, http.StatusOK, "ok")
}

func respond(answer http.ResponseWriter, status int, word string) {
	answer.Header().Set("Content-Type", "application/json")
	answer.WriteHeader(status)
	_, _ = answer.Write([]byte(`{"status":"` + word + `"}`))
}

func (s *server) flush(ctx context.Context) {
	for {
		group := []*waiting{<-s.queue}
		for len(group) < groupRows && len(s.queue) > 0 {
			select {
			case w := <-s.queue:
				group = append(group, w)
			default: // the other flusher took it
			}
		}
		err := s.store(ctx, group)
		if err != nil {
			log.Print(err)
		}
		for _, w := range group {
			w.stored <- err
		}
	}
}

// store returns once the group is committed: COPY is a transaction of its own.
func (s *server) store(ctx context.Context, group []*waiting) error {
	now := time.Now()
	last := s.sequence.Add(int64(len(group)))
	rows := make([][]any, len(group))
	for i, w := range group {
		rows[i] = []any{
			w.EventID, w.ObjectType, w.Metric, w.Timestamp, w.body, w.received, now,
			last - int64(len(group)) + int64(i), int64(1),
		}
	}
	_, err := s.pool.CopyFrom(ctx, s.table, columns, pgx.CopyFromRows(rows))
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "23505" { // an event that came again
		return s.insert(ctx, rows)
	}
	return err
}

func (s *server) insert(ctx context.Context, rows [][]any) error {
	statement := "INSERT INTO " + s.table.Sanitize() +
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (event_id) DO NOTHING"
	batch := &pgx.Batch{}
	for _, row := range rows {
		batch.Queue(statement, row...)
	}
	return s.pool.SendBatch(ctx, batch).Close()
}
