// Submits one finished team, as a controller's reconciler would: one call, and when to call again.
//
//	controller NAMESPACE TEAM
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"controller/delivery"
)

// Reconciler submits teams. Its results correspond to controller-runtime's Result and error.
type Reconciler struct {
	Deliveries *delivery.DeliveriesAPIService
	TokenFile  string // of a projected volume
}

// Reconcile returns after how long to call again, or 0 if nothing is left to do. An error means that a retry does not
// help and somebody has to change something. Calls are idempotent: settled targets are not sent again.
func (r *Reconciler) Reconcile(ctx context.Context, namespace, team string) (time.Duration, error) {
	token, err := os.ReadFile(r.TokenFile) // each time, because the kubelet renews it
	if err != nil {
		return 0, err
	}
	ctx = context.WithValue(ctx, delivery.ContextAccessToken, strings.TrimSpace(string(token)))
	report, response, err := r.Deliveries.Deliver(ctx).
		CompletionEvent(*delivery.NewCompletionEvent(namespace, team)).
		Execute()
	if err != nil {
		return again(response, err)
	}
	if report == nil {
		return 0, notOurs(response)
	}
	for _, target := range report.Targets {
		reason := target.Reason.Get() // text: a later service may return a reason that this program does not know
		if reason == nil {
			reason = new(string)
		}
		fmt.Println(target.Name, target.Phase, *reason)
	}
	return 0, nil // also if Pending: the service continues by itself, and the team's status changes at the end
}

// again decides about a failed call by the type of the problem.
func again(response *http.Response, err error) (time.Duration, error) {
	if response == nil {
		return 5 * time.Second, nil // no answer: the event may have arrived, and a retry sends nothing twice
	}
	var failed *delivery.GenericOpenAPIError
	problem, ours := delivery.ProblemDetails{}, false
	if errors.As(err, &failed) {
		problem, ours = failed.Model().(delivery.ProblemDetails)
	}
	if !ours || problem.Type == "" { // created from an answer without a body
		return 0, notOurs(response)
	}
	said := fmt.Errorf("%s %s", problem.Type, problem.Detail)
	switch problem.Type {
	case ProblemTeamNotFinished, ProblemUidChanged, ProblemTeamNotFound:
		return 0, nil // the next change of the resource, if any, calls this again
	case ProblemUnauthenticated, ProblemRequestTimeout, ProblemClaimInFlight:
		fmt.Println(said)
		return 30 * time.Second, nil // a token that has just been renewed, a slow network, a send in progress
	}
	if wait, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil {
		fmt.Println(said)
		return time.Duration(wait) * time.Second, nil
	}
	return 0, said
}

// notOurs reports an answer of a gateway or of another service.
func notOurs(response *http.Response) error {
	return fmt.Errorf("answered %d, and not as agentteam-delivery does", response.StatusCode)
}

func main() {
	configuration := delivery.NewConfiguration()
	configuration.Servers = delivery.ServerConfigurations{{URL: os.Getenv("DELIVERY_URL")}}
	configuration.HTTPClient = &http.Client{
		Timeout: 90 * time.Second,
		// A redirect would lose the event.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	client := delivery.NewAPIClient(configuration)
	reconciler := Reconciler{Deliveries: client.DeliveriesAPI, TokenFile: os.Getenv("DELIVERY_TOKEN_FILE")}
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "give a namespace and a team")
		os.Exit(2)
	}
	wait, err := reconciler.Reconcile(context.Background(), os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if wait > 0 {
		fmt.Printf("again in %d s\n", int(wait.Seconds()))
		os.Exit(1)
	}
}
