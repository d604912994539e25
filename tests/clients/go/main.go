// Takes steps with the generated Go client, and prints what came of each; driver.py does the same.
//
// As a process, with steps as JSON on its input: driver URL
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"driver/delivery"
)

type step struct {
	Call, Token, Namespace, Team, Redeliver, Prefer string
}

type told map[string]any

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(url string) error {
	var steps []step
	if err := json.NewDecoder(os.Stdin).Decode(&steps); err != nil {
		return err
	}
	configuration := delivery.NewConfiguration()
	configuration.Servers = delivery.ServerConfigurations{{URL: url}}
	configuration.HTTPClient = &http.Client{
		Timeout:       time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	client := delivery.NewAPIClient(configuration)
	results := []told{}
	for _, one := range steps {
		results = append(results, take(client.DeliveriesAPI, one))
	}
	return json.NewEncoder(os.Stdout).Encode(results)
}

func take(api *delivery.DeliveriesAPIService, one step) told {
	ctx := context.WithValue(context.Background(), delivery.ContextAccessToken, one.Token)
	event := delivery.NewCompletionEvent(one.Namespace, one.Team)
	if one.Redeliver != "" {
		event.SetRedeliver(one.Redeliver)
	}
	switch one.Call {
	case "preview":
		answer, response, err := api.Preview(ctx).CompletionEvent(*event).Execute()
		if err != nil {
			return refused(response, err)
		}
		would := map[string]string{}
		for _, target := range answer.Targets {
			would[target.Name] = target.Would
		}
		return told{"would": would}
	case "read":
		return reported(api.ReadDelivery(ctx, one.Namespace, one.Team).Execute())
	default:
		request := api.Deliver(ctx).CompletionEvent(*event)
		if one.Prefer != "" {
			request = request.Prefer(one.Prefer)
		}
		return reported(request.Execute())
	}
}

func reported(report *delivery.Report, response *http.Response, err error) told {
	if err != nil {
		return refused(response, err)
	}
	if report == nil { // the generated client takes an empty answer of any kind for one
		return told{"raised": fmt.Sprintf("answered %d with nothing", response.StatusCode)}
	}
	targets := []told{}
	for _, target := range report.Targets {
		changed := target.Timestamp.Get()
		targets = append(targets, told{
			"name":          target.Name,
			"phase":         target.Phase,
			"reason":        target.Reason.Get(),
			"httpStatus":    target.HttpStatus.Get(),
			"changedLately": changed != nil && time.Since(*changed).Abs() < time.Hour,
		})
	}
	answer := told{"phase": report.Phase, "targets": targets}
	if where := response.Header.Get("Location"); where != "" {
		answer["location"] = where
	}
	return answer
}

func refused(response *http.Response, err error) told {
	var failed *delivery.GenericOpenAPIError
	if response == nil || !errors.As(err, &failed) {
		return told{"raised": err.Error()}
	}
	problem, ok := failed.Model().(delivery.ProblemDetails)
	if !ok || problem.Type == "" { // created from an answer without a body
		return told{"raised": fmt.Sprintf("answered %d", response.StatusCode)}
	}
	answer := told{"problem": problem.Type, "status": problem.Status}
	if len(problem.Errors) > 0 {
		answer["errors"] = problem.Errors
	}
	if wait, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil {
		answer["retryAfter"] = wait
	}
	return answer
}
