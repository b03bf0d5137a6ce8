// The real Go driver, version 2, for the tests: a line of JSON on stdin asks for a step, a line on stdout answers it.
// test/interop/README.md has the steps. Credentials come from the environment.
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

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
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
	client   *mongo.Client
	ready    atomic.Int64
	getMores atomic.Int64
)

var steps = map[string]func(context.Context, step) (any, error){
	"open": open, "status": status, "crud": crud, "insert": insert, "inserts": inserts, "cursor": cursor, "pool": pool,
	"ping": ping,
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var asked step
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			panic(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		value, err := steps[asked.Do](ctx, asked)
		cancel()
		if err != nil {
			_ = out.Encode(map[string]any{"error": shapeOf(err)})
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

// What an application can see of an error: that of a command, or that of a login, which lies deeper.
func shapeOf(err error) map[string]any {
	shape := map[string]any{"message": err.Error(), "labels": []string{}}
	var command mongo.CommandError
	var write mongo.WriteException
	var inner driver.Error
	switch {
	case errors.As(err, &command):
		shape["code"], shape["labels"] = command.Code, labels(command.Labels)
	case errors.As(err, &write) && write.WriteConcernError == nil && len(write.WriteErrors) > 0:
		shape["code"] = write.WriteErrors[0].Code
	case errors.As(err, &inner):
		shape["code"], shape["labels"] = inner.Code, labels(inner.Labels)
	}
	return shape
}

func labels(all []string) []string {
	return append([]string{}, all...)
}

func open(_ context.Context, asked step) (any, error) {
	commands := &event.CommandMonitor{Started: func(_ context.Context, started *event.CommandStartedEvent) {
		if started.CommandName == "getMore" {
			getMores.Add(1)
		}
	}}
	connections := &event.PoolMonitor{Event: func(seen *event.PoolEvent) {
		if seen.Type == event.ConnectionReady {
			ready.Add(1)
		}
	}}
	var err error
	client, err = mongo.Connect(options.Client().ApplyURI(asked.URI).SetMonitor(commands).SetPoolMonitor(connections))
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

func crud(ctx context.Context, asked step) (any, error) {
	collection := client.Database("app").Collection(asked.In)
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
		options.UpdateOne().SetUpsert(true))
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
	left, err := collection.CountDocuments(ctx, bson.M{})
	return map[string]any{
		"inserted": len(inserted.InsertedIDs), "modified": updated.ModifiedCount, "upserted": upserted.UpsertedCount,
		"deleted": deleted.DeletedCount, "found": pairs, "left": left,
	}, err
}

func insert(ctx context.Context, asked step) (any, error) {
	document := bson.M{"by": "go"}
	if asked.ID != nil {
		document["_id"] = *asked.ID
	}
	_, err := client.Database("app").Collection(asked.In).InsertOne(ctx, document)
	return bson.M{}, err
}

// All at once; what failed of them, as the application sees it.
func inserts(ctx context.Context, asked step) (any, error) {
	var all sync.WaitGroup
	var lock sync.Mutex
	failed := []map[string]any{}
	for _, id := range asked.IDs {
		all.Add(1)
		go func() {
			defer all.Done()
			if _, err := insert(ctx, step{In: asked.In, ID: &id}); err != nil {
				shape := shapeOf(err)
				shape["id"] = id
				lock.Lock()
				failed = append(failed, shape)
				lock.Unlock()
			}
		}()
	}
	all.Wait()
	return map[string]any{"failed": failed}, nil
}

// Writes so many documents and reads all of them in batches.
func cursor(ctx context.Context, asked step) (any, error) {
	collection := client.Database("app").Collection(asked.In)
	if _, err := collection.DeleteMany(ctx, bson.M{}); err != nil {
		return nil, err
	}
	documents := make([]any, asked.Count)
	for n := range documents {
		documents[n] = bson.M{"n": n, "text": fmt.Sprintf("%0100d", n)}
	}
	if _, err := collection.InsertMany(ctx, documents); err != nil {
		return nil, err
	}
	getMores.Store(0)
	found, err := collection.Find(ctx, bson.M{}, options.Find().SetBatchSize(asked.BatchSize))
	if err != nil {
		return nil, err
	}
	defer found.Close(ctx)
	count, different := 0, map[int]bool{}
	for found.Next(ctx) {
		var document struct{ N int }
		if err := found.Decode(&document); err != nil {
			return nil, err
		}
		count++
		different[document.N] = true
	}
	return map[string]any{"count": count, "different": len(different), "getMores": getMores.Load()}, found.Err()
}

// As many operations at once as the pool holds, ten rounds, once the pool is full.
func pool(ctx context.Context, asked step) (any, error) {
	if _, err := ping(ctx, asked); err != nil {
		return nil, err
	}
	for int(ready.Load()) < asked.Count {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("only %d connections are ready", ready.Load())
		case <-time.After(10 * time.Millisecond):
		}
	}
	var all sync.WaitGroup
	var answered atomic.Int64
	for range asked.Count {
		all.Add(1)
		go func() {
			defer all.Done()
			for range 10 {
				if _, err := ping(ctx, asked); err == nil {
					answered.Add(1)
				}
			}
		}()
	}
	all.Wait()
	return map[string]any{"ready": ready.Load(), "answered": answered.Load()}, nil
}
