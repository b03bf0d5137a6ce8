package main

import (
	"context"
	"errors"
	"sync/atomic"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

var cleared atomic.Int64

func init() {
	steps["watch"], steps["read"], steps["events"] = watch, read, events
}

// Like open, and counts how often the pool is cleared.
func watch(_ context.Context, asked step) (any, error) {
	connections := &event.PoolMonitor{Event: func(seen *event.PoolEvent) {
		if seen.Type == event.ConnectionPoolCleared {
			cleared.Add(1)
		}
	}}
	var err error
	client, err = mongo.Connect(options.Client().ApplyURI(asked.URI).SetPoolMonitor(connections))
	return bson.M{}, err
}

func read(ctx context.Context, asked step) (any, error) {
	err := client.Database("app").Collection(asked.In).FindOne(ctx, bson.D{}).Err()
	if errors.Is(err, mongo.ErrNoDocuments) {
		err = nil
	}
	return bson.M{}, err
}

func events(_ context.Context, _ step) (any, error) {
	return bson.M{"cleared": cleared.Load()}, nil
}
