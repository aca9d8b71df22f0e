// Load posts Customer.io deliveries over keep-alive connections, one after another on each, and prints what it saw as
// JSON. It writes a prepared request and reads the answer with fasthttp's parser, because on a small machine the load
// generator's own work comes out of the server's share.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

// A delivery of about 450 bytes. The event_id comes first and has a fixed length, so that it can be replaced in place.
const (
	idLength = 26
	template = `{"event_id":"%s","object_type":"email","metric":"opened","timestamp":1790000000,` +
		`"data":{"action_id":42,"campaign_id":1000015,"content_id":1146,"customer_id":"cust-100",` +
		`"delivery_id":"ZJvQ100AABnVpXwDfK3rT8sLmA==","email_id":"ZJvQ100AAB",` +
		`"identifiers":{"cio_id":"a3c000000001","email":"person100@example.com","id":"cust-100"},` +
		`"journey_id":"01K84G7ZWYRD6Z1RV0WHE6M111","recipient":"person100@example.com",` +
		`"subject":"Welcome"}}`
)

type report struct {
	Connections int            `json:"connections"`
	BodyBytes   int            `json:"body_bytes"`
	Acked       int64          `json:"acked"`    // answered 2xx from start to end, warm-up included
	Measured    int64          `json:"measured"` // of these, in the measured time
	Seconds     float64        `json:"seconds"`
	RPS         float64        `json:"rps"`
	P50         float64        `json:"p50_ms"`
	P99         float64        `json:"p99_ms"`
	Max         float64        `json:"max_ms"`
	Errors      map[string]int `json:"errors"`     // by status, or "connection"
	Reconnects  int            `json:"reconnects"` // the server asked for them with Connection: close
	CPUSeconds  float64        `json:"cpu_seconds"`
}

type plan struct {
	address, run         string
	head                 []byte // of each request, Content-Length included
	begin, measured, end time.Time
	left                 *atomic.Int64
	pace                 time.Duration // from one worker's request to its next; 0: as fast as it is answered
	step                 time.Duration // from one worker's first request to the next worker's
}

type worker struct {
	acked      int64
	latencies  []uint32 // µs, in the measured time
	errors     map[string]int
	reconnects int
}

func main() {
	target := flag.String("url", "", "the endpoint's URL; may also come as LOAD_URL")
	connections := flag.Int("connections", 64, "how many, each with one request at a time")
	warmup := flag.Duration("warmup", time.Second, "not measured")
	duration := flag.Duration("duration", 5*time.Second, "measured")
	requests := flag.Int64("requests", 5_000_000, "at most")
	rate := flag.Float64("rate", 0, "requests a second over all connections; 0: as many as are answered")
	run := flag.String("run", "0", "makes event ids differ from those of other runs; at most 10 characters")
	flag.Parse()
	if *target == "" {
		*target = os.Getenv("LOAD_URL") // a token on a command line is for everyone to see
	}
	parsed, err := url.Parse(*target)
	if err != nil || !net.ParseIP(parsed.Hostname()).IsLoopback() {
		fail("the URL must name a loopback address, such as http://127.0.0.1:8787/…")
	}
	if len(*run) > 10 || *connections < 1 || *connections > 4096 || *duration > 10*time.Minute {
		fail("at most 10 characters of -run, 4096 connections and 10 minutes")
	}
	fmt.Println(string(measure(parsed, *connections, *warmup, *duration, *requests, *rate, *run)))
}

func measure(
	target *url.URL, connections int, warmup, duration time.Duration, requests int64, rate float64, run string,
) []byte {
	size := len(fmt.Sprintf(template, eventID(run, 0, 0)))
	left := &atomic.Int64{}
	left.Store(requests)
	begin := time.Now()
	p := plan{
		address: target.Host,
		run:     run,
		head: fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: Customer.io Web Hooks 1.0\r\n"+
			"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n", target.RequestURI(), target.Host, size),
		begin:    begin,
		measured: begin.Add(warmup),
		end:      begin.Add(warmup + duration),
		left:     left,
	}
	if rate > 0 {
		p.step = time.Duration(float64(time.Second) / rate)
		p.pace = p.step * time.Duration(connections)
	}
	workers := make([]*worker, connections)
	var group sync.WaitGroup
	for number := range workers {
		workers[number] = &worker{errors: map[string]int{}}
		group.Go(func() { workers[number].work(&p, number) })
	}
	group.Wait()

	r := report{Connections: connections, BodyBytes: size, Seconds: duration.Seconds(), Errors: map[string]int{}}
	var latencies []uint32
	for _, w := range workers {
		r.Acked += w.acked
		r.Reconnects += w.reconnects
		latencies = append(latencies, w.latencies...)
		for what, n := range w.errors {
			r.Errors[what] += n
		}
	}
	if left.Load() <= 0 { // ended early, by number
		r.Seconds = min(r.Seconds, time.Since(p.measured).Seconds())
	}
	slices.Sort(latencies)
	r.Measured = int64(len(latencies))
	r.RPS = float64(r.Measured) / r.Seconds
	r.P50, r.P99, r.Max = percentile(latencies, 0.50), percentile(latencies, 0.99), percentile(latencies, 1)
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) == nil {
		r.CPUSeconds = time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
	}
	out, err := json.Marshal(r)
	if err != nil {
		fail(err.Error())
	}
	return out
}

// work sends until the time is up; what is under way then is waited for, so that every 2xx is counted.
func (w *worker) work(p *plan, number int) {
	request := fmt.Appendf(slices.Clone(p.head), template, eventID(p.run, number, 0))
	place := len(p.head) + len(`{"event_id":"`)
	response := &fasthttp.Response{}
	var connection net.Conn
	var reader *bufio.Reader
	failures := 0
	due := p.begin.Add(p.step * time.Duration(number))
	for sequence := 0; time.Now().Before(p.end) && p.left.Add(-1) >= 0; sequence++ {
		if p.pace > 0 { // a request that is late shortens the pause after it: the rate holds over time
			time.Sleep(time.Until(due))
			due = due.Add(p.pace)
		}
		if connection == nil {
			var err error
			if connection, err = net.Dial("tcp", p.address); err != nil {
				connection = nil
				w.errors["connection"]++
				if failures++; failures > 50 {
					return
				}
				time.Sleep(20 * time.Millisecond)
				continue
			}
			// One deadline for all: setting it for each request would cost more than parsing the answer.
			_ = connection.SetDeadline(p.end.Add(15 * time.Second))
			reader = bufio.NewReader(connection)
		}
		copy(request[place:place+idLength], eventID(p.run, number, sequence))
		sent := time.Now()
		_, err := connection.Write(request)
		if err == nil {
			err = response.Read(reader)
		}
		answered := time.Now()
		if err != nil {
			w.errors["connection"]++
			_ = connection.Close()
			connection = nil
			if failures++; failures > 50 {
				return
			}
			continue
		}
		failures = 0
		if status := response.StatusCode(); status < 200 || status > 299 {
			w.errors[fmt.Sprint(status)]++
		} else {
			w.acked++
			if answered.After(p.measured) && answered.Before(p.end) {
				w.latencies = append(w.latencies, uint32(answered.Sub(sent).Microseconds()))
			}
		}
		if response.ConnectionClose() {
			w.reconnects++
			_ = connection.Close()
			connection = nil
		}
	}
	if connection != nil {
		_ = connection.Close()
	}
}

func eventID(run string, connection, sequence int) string {
	return fmt.Sprintf("%010s%04d%012d", run, connection, sequence)
}

// percentile returns milliseconds.
func percentile(sorted []uint32, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]) / 1000
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(2)
}
