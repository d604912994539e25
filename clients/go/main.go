// Hands one finished team in, as a controller's reconciler would: one call, and when to come again.
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

// Reconciler hands teams in. What it returns is what controller-runtime's Result and error are for.
type Reconciler struct {
	Deliveries *delivery.DeliveriesAPIService
	TokenFile  string // of a projected volume
}

// Reconcile returns after how long to come again, or 0 where nothing is left to do; an error where asking again does
// not help, and somebody has to change something. It may be called as often as wanted: what is settled is not sent
// again.
func (r *Reconciler) Reconcile(ctx context.Context, namespace, team string) (time.Duration, error) {
	token, err := os.ReadFile(r.TokenFile) // each time, for the kubelet renews it
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
		reason := target.Reason.Get() // text: a later service may give one that this program does not know
		if reason == nil {
			reason = new(string)
		}
		fmt.Println(target.Name, target.Phase, *reason)
	}
	return 0, nil // Pending too: the service goes on by itself, and the team's status changes when it is done
}

// again judges a failed call by the kind of the problem.
func again(response *http.Response, err error) (time.Duration, error) {
	if response == nil {
		return 5 * time.Second, nil // no answer: it may have arrived, and asking again sends nothing twice
	}
	var failed *delivery.GenericOpenAPIError
	problem, ours := delivery.ProblemDetails{}, false
	if errors.As(err, &failed) {
		problem, ours = failed.Model().(delivery.ProblemDetails)
	}
	if !ours || problem.Type == "" { // made of an answer without a body
		return 0, notOurs(response)
	}
	said := fmt.Errorf("%s %s", problem.Type, problem.Detail)
	switch problem.Type {
	case ProblemTeamNotFinished, ProblemUidChanged, ProblemTeamNotFound:
		return 0, nil // the resource's next change brings it here again, if there is one
	case ProblemUnauthenticated, ProblemRequestTimeout, ProblemClaimInFlight:
		fmt.Println(said)
		return 30 * time.Second, nil // a token that has just been renewed, a slow network, a send under way
	}
	if wait, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil {
		fmt.Println(said)
		return time.Duration(wait) * time.Second, nil
	}
	return 0, said
}

// notOurs tells of a gateway's answer, or of another service's.
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
