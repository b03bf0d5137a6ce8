// Runs steps with the Go driver, version 1, for the tests. Each line of JSON on stdin is a step; each line on stdout is its
// result. test/interop/README.md describes the steps. Credentials come from the environment.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/event"
	"go.mongodb.org/mongo-driver/mongo"
	"go.mongodb.org/mongo-driver/mongo/options"
	"go.mongodb.org/mongo-driver/x/mongo/driver"
)

type step struct {
	Do        string `json:"do"`
	URI       string `json:"uri"`
	In        string `json:"in"`
	ID        *int   `json:"id"`
	IDs       []int  `json:"ids"`
	Count     int    `json:"count"`
	BatchSize int32  `json:"batchSize"`
}

var (
	client       *mongo.Client
	ready        atomic.Int64
	poolsCleared atomic.Int64
	getMores     atomic.Int64
)

var steps = map[string]func(context.Context, step) (any, error){
	"open": open, "ping": ping, "status": status, "crud": crud, "read": read, "insert": insert, "inserts": inserts,
	"cursor": cursor, "pool": pool, "events": events,
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var args step
		if err := json.Unmarshal(lines.Bytes(), &args); err != nil {
			panic(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		value, err := steps[args.Do](ctx, args)
		cancel()
		if err != nil {
			_ = out.Encode(map[string]any{"error": describe(err)})
		} else {
			_ = out.Encode(map[string]any{"value": value})
		}
	}
	if client != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = client.Disconnect(ctx)
	}
}

// An error as the application sees it: that of a command, or that of a login, which is wrapped.
func describe(err error) map[string]any {
	description := map[string]any{"message": err.Error(), "labels": []string{}}
	var command mongo.CommandError
	var write mongo.WriteException
	var inner driver.Error
	switch {
	case errors.As(err, &command):
		description["code"], description["labels"] = command.Code, labels(command.Labels)
	case errors.As(err, &write) && write.WriteConcernError == nil && len(write.WriteErrors) > 0:
		description["code"] = write.WriteErrors[0].Code
	case errors.As(err, &inner):
		description["code"], description["labels"] = inner.Code, labels(inner.Labels)
	}
	return description
}

func labels(names []string) []string {
	return append([]string{}, names...)
}

func open(ctx context.Context, args step) (any, error) {
	commands := &event.CommandMonitor{Started: func(_ context.Context, started *event.CommandStartedEvent) {
		if started.CommandName == "getMore" {
			getMores.Add(1)
		}
	}}
	connections := &event.PoolMonitor{Event: func(observed *event.PoolEvent) {
		switch observed.Type {
		case event.ConnectionReady:
			ready.Add(1)
		case event.PoolCleared:
			poolsCleared.Add(1)
		}
	}}
	var err error
	client, err = mongo.Connect(ctx, options.Client().ApplyURI(args.URI).SetMonitor(commands).SetPoolMonitor(connections))
	return bson.M{}, err
}

func ping(ctx context.Context, _ step) (any, error) {
	return bson.M{}, client.Database("admin").RunCommand(ctx, bson.D{{Key: "ping", Value: 1}}).Err()
}

func status(ctx context.Context, _ step) (any, error) {
	var reply struct {
		AuthInfo struct {
			Users []struct {
				User string `json:"user"`
				DB   string `json:"db"`
			} `bson:"authenticatedUsers"`
			Roles []struct {
				Role string `json:"role"`
				DB   string `json:"db"`
			} `bson:"authenticatedUserRoles"`
		} `bson:"authInfo"`
	}
	command := bson.D{{Key: "connectionStatus", Value: 1}}
	err := client.Database("admin").RunCommand(ctx, command).Decode(&reply)
	return map[string]any{"users": reply.AuthInfo.Users, "roles": reply.AuthInfo.Roles}, err
}

func crud(ctx context.Context, args step) (any, error) {
	collection := client.Database("app").Collection(args.In)
	if _, err := collection.DeleteMany(ctx, bson.M{}); err != nil {
		return nil, err
	}
	inserted, err := collection.InsertMany(ctx, []any{
		bson.M{"_id": 1, "n": 1}, bson.M{"_id": 2, "n": 2}, bson.M{"_id": 3, "n": 3},
	})
	if err != nil {
		return nil, err
	}
	updated, err := collection.UpdateOne(ctx, bson.M{"_id": 2}, bson.M{"$set": bson.M{"n": 20}})
	if err != nil {
		return nil, err
	}
	upserted, err := collection.UpdateOne(ctx, bson.M{"_id": 4}, bson.M{"$set": bson.M{"n": 4}},
		options.Update().SetUpsert(true))
	if err != nil {
		return nil, err
	}
	deleted, err := collection.DeleteOne(ctx, bson.M{"_id": 1})
	if err != nil {
		return nil, err
	}
	found, err := collection.Find(ctx, bson.M{"n": bson.M{"$gte": 3}}, options.Find().SetSort(bson.M{"n": 1}))
	if err != nil {
		return nil, err
	}
	var documents []struct {
		ID int `bson:"_id"`
		N  int
	}
	if err := found.All(ctx, &documents); err != nil {
		return nil, err
	}
	pairs := [][]int{}
	for _, document := range documents {
		pairs = append(pairs, []int{document.ID, document.N})
	}
	remaining, err := collection.CountDocuments(ctx, bson.M{})
	return map[string]any{
		"inserted": len(inserted.InsertedIDs), "modified": updated.ModifiedCount, "upserted": upserted.UpsertedCount,
		"deleted": deleted.DeletedCount, "found": pairs, "remaining": remaining,
	}, err
}

func read(ctx context.Context, args step) (any, error) {
	err := client.Database("app").Collection(args.In).FindOne(ctx, bson.D{}).Err()
	if errors.Is(err, mongo.ErrNoDocuments) {
		err = nil
	}
	return bson.M{}, err
}

func insert(ctx context.Context, args step) (any, error) {
	document := bson.M{"by": "go"}
	if args.ID != nil {
		document["_id"] = *args.ID
	}
	_, err := client.Database("app").Collection(args.In).InsertOne(ctx, document)
	return bson.M{}, err
}

// Inserts documents concurrently and returns the errors that the application sees.
func inserts(ctx context.Context, args step) (any, error) {
	var workers sync.WaitGroup
	var lock sync.Mutex
	failed := []map[string]any{}
	for _, id := range args.IDs {
		workers.Add(1)
		go func() {
			defer workers.Done()
			if _, err := insert(ctx, step{In: args.In, ID: &id}); err != nil {
				description := describe(err)
				description["id"] = id
				lock.Lock()
				failed = append(failed, description)
				lock.Unlock()
			}
		}()
	}
	workers.Wait()
	return map[string]any{"failed": failed}, nil
}

// Writes `count` documents and reads all of them in batches.
func cursor(ctx context.Context, args step) (any, error) {
	collection := client.Database("app").Collection(args.In)
	if _, err := collection.DeleteMany(ctx, bson.M{}); err != nil {
		return nil, err
	}
	documents := make([]any, args.Count)
	for n := range documents {
		documents[n] = bson.M{"n": n, "text": fmt.Sprintf("%0100d", n)}
	}
	if _, err := collection.InsertMany(ctx, documents); err != nil {
		return nil, err
	}
	getMores.Store(0)
	found, err := collection.Find(ctx, bson.M{}, options.Find().SetBatchSize(args.BatchSize))
	if err != nil {
		return nil, err
	}
	defer found.Close(ctx)
	count, distinct := 0, map[int]bool{}
	for found.Next(ctx) {
		var document struct{ N int }
		if err := found.Decode(&document); err != nil {
			return nil, err
		}
		count++
		distinct[document.N] = true
	}
	return map[string]any{"count": count, "distinct": len(distinct), "getMores": getMores.Load()}, found.Err()
}

// Waits until the pool has `count` connections, then runs as many workers with ten pings each.
func pool(ctx context.Context, args step) (any, error) {
	if _, err := ping(ctx, args); err != nil {
		return nil, err
	}
	for int(ready.Load()) < args.Count {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("only %d connections are ready", ready.Load())
		case <-time.After(10 * time.Millisecond):
		}
	}
	var workers sync.WaitGroup
	var answered atomic.Int64
	for range args.Count {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for range 10 {
				if _, err := ping(ctx, args); err == nil {
					answered.Add(1)
				}
			}
		}()
	}
	workers.Wait()
	return map[string]any{"ready": ready.Load(), "answered": answered.Load()}, nil
}

func events(_ context.Context, _ step) (any, error) {
	return bson.M{"cleared": poolsCleared.Load()}, nil
}
