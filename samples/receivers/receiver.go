// A receiver of signed notifications; it needs only the standard library.
//
// It keeps each notification as a file, named by its id, and answers at once. Another program reads that folder and does
// the work.
// Put it behind something that terminates TLS. Its environment variables:
//
//	SIGNING_SECRETS  the accepted keys, whsec_…, separated by spaces
//	AUTHORIZATION    the required value of that header; empty: not checked
//	NOTIFICATIONS    where notifications are stored; default: notifications
//	HOST, PORT       where it listens; default: 127.0.0.1 and 9000
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	tolerance = 5 * time.Minute  // that a timestamp may be off
	most      = 1 << 21          // bytes of a notification
	patience  = 10 * time.Second // for a request to arrive
)

var (
	identifiers = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`) // each becomes a file's name
	timestamps  = regexp.MustCompile(`^[0-9]{1,12}$`)
	ascii       = regexp.MustCompile(`^[ -~]*$`)
)

// verify returns the notification's id; body is the raw request body, before any parsing.
func verify(header http.Header, body []byte, keys [][]byte, now time.Time) (string, error) {
	ids, times := header.Values("webhook-id"), header.Values("webhook-timestamp")
	lists := header.Values("webhook-signature")
	if len(ids) != 1 || len(times) != 1 || len(lists) != 1 {
		return "", errors.New("a header is missing or repeated")
	}
	id, timestamp, signatures := ids[0], times[0], lists[0]
	if !identifiers.MatchString(id) {
		return "", errors.New("the id is invalid")
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	age := now.Sub(time.Unix(seconds, 0))
	if err != nil || !timestamps.MatchString(timestamp) || age > tolerance || age < -tolerance {
		return "", errors.New("the timestamp is not current")
	}
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + timestamp + "."))
		mac.Write(body)
		ours := []byte("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		for _, theirs := range strings.Split(signatures, " ") {
			if hmac.Equal(ours, []byte(theirs)) { // takes constant time
				return id, nil
			}
		}
	}
	return "", errors.New("no signature matches")
}

// keep writes a notification to a file atomically, and returns whether it is new.
func keep(folder, id string, body []byte) (bool, error) {
	draft, err := os.CreateTemp(folder, ".draft-")
	if err != nil {
		return false, err
	}
	defer os.Remove(draft.Name())
	defer draft.Close()
	if _, err := draft.Write(body); err != nil {
		return false, err
	}
	if err := draft.Sync(); err != nil {
		return false, err
	}
	err = os.Link(draft.Name(), filepath.Join(folder, id+".json"))
	fresh := err == nil
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	place, err := os.Open(folder)
	if err != nil {
		return false, err
	}
	defer place.Close()
	return fresh, place.Sync() // or a power failure may lose the name
}

type receiver struct {
	keys          [][]byte
	authorization string
	folder        string
}

// ServeHTTP answers one request: 204 if the notification is stored, now or before.
func (r receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	status, what := r.take(request)
	w.WriteHeader(status)
	fmt.Println(what)
}

func (r receiver) take(request *http.Request) (int, string) {
	if request.Method != http.MethodPost {
		return http.StatusMethodNotAllowed, "refused: not a POST"
	}
	if request.Header.Get("content-length") == "" { // a chunked request has none either
		return http.StatusLengthRequired, "refused: send a content-length"
	}
	if request.ContentLength > most {
		return http.StatusRequestEntityTooLarge, "refused: too large"
	}
	body, err := io.ReadAll(request.Body)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return http.StatusRequestTimeout, "refused: the body did not come whole"
	case err != nil:
		return http.StatusBadRequest, "refused: the body did not come whole"
	}
	given := []byte(request.Header.Get("authorization"))
	if r.authorization != "" && !hmac.Equal(given, []byte(r.authorization)) {
		return http.StatusUnauthorized, "refused: the authorization is wrong"
	}
	id, err := verify(request.Header, body, r.keys, time.Now())
	if err != nil {
		return http.StatusUnauthorized, "refused: " + err.Error()
	}
	fresh, err := keep(r.folder, id, body)
	switch {
	case err != nil:
		return http.StatusServiceUnavailable, "not kept: " + err.Error() // the service retries
	case fresh:
		return http.StatusNoContent, "took " + id
	}
	return http.StatusNoContent, "had already " + id
}

// stop prints an error, and exits.
func stop(why any) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(2)
}

func keysOf(secrets string) [][]byte {
	var keys [][]byte
	for _, one := range strings.Fields(secrets) {
		key, err := base64.StdEncoding.Strict().DecodeString(strings.TrimPrefix(one, "whsec_"))
		if err != nil || len(key) == 0 || !strings.HasPrefix(one, "whsec_") {
			stop("SIGNING_SECRETS: each must be whsec_ followed by base64")
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		stop("SIGNING_SECRETS: name at least one key")
	}
	return keys
}

func told(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func main() {
	r := receiver{keysOf(os.Getenv("SIGNING_SECRETS")), os.Getenv("AUTHORIZATION"), told("NOTIFICATIONS", "notifications")}
	if !ascii.MatchString(r.authorization) {
		stop("AUTHORIZATION: must be ASCII")
	}
	port, err := strconv.ParseUint(told("PORT", "9000"), 10, 16)
	if err != nil {
		stop("PORT: must be a number up to 65535")
	}
	if err := os.MkdirAll(r.folder, 0o700); err != nil {
		stop(fmt.Errorf("cannot start: %w", err))
	}
	drafts, _ := filepath.Glob(filepath.Join(r.folder, ".draft-*"))
	for _, draft := range drafts { // of a process that was killed
		os.Remove(draft)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(told("HOST", "127.0.0.1"), strconv.FormatUint(port, 10)))
	if err != nil {
		stop(fmt.Errorf("cannot start: %w", err))
	}
	fmt.Println("listening on port", listener.Addr().(*net.TCPAddr).Port)
	server := &http.Server{Handler: r, ReadTimeout: patience}
	stop(server.Serve(listener))
}
