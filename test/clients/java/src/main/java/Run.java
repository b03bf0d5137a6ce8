import com.mongodb.ConnectionString;
import com.mongodb.MongoClientSettings;
import com.mongodb.MongoCommandException;
import com.mongodb.MongoException;
import com.mongodb.MongoWriteException;
import com.mongodb.client.MongoClient;
import com.mongodb.client.MongoClients;
import com.mongodb.client.MongoCollection;
import com.mongodb.client.model.Filters;
import com.mongodb.client.model.Sorts;
import com.mongodb.client.model.UpdateOptions;
import com.mongodb.client.model.Updates;
import com.mongodb.event.CommandListener;
import com.mongodb.event.CommandStartedEvent;
import com.mongodb.event.ConnectionPoolClearedEvent;
import com.mongodb.event.ConnectionPoolListener;
import com.mongodb.event.ConnectionReadyEvent;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import org.bson.Document;

/**
 * Runs steps with the Java driver for the tests. Each line of JSON on stdin is a step; each line on stdout is its result.
 * test/interop/README.md describes the steps. Credentials come from the environment.
 */
public final class Run {
  private static MongoClient client;
  private static final AtomicInteger ready = new AtomicInteger();
  private static final AtomicInteger cleared = new AtomicInteger();
  private static final AtomicInteger getMores = new AtomicInteger();

  public static void main(String[] args) throws IOException {
    var lines = new BufferedReader(new InputStreamReader(System.in));
    for (var line = lines.readLine(); line != null; line = lines.readLine()) {
      var step = Document.parse(line);
      Document result;
      try {
        result = new Document("value", run(step));
      } catch (MongoException error) {
        result = new Document("error", describe(error));
      }
      System.out.println(result.toJson());
    }
    if (client != null) client.close();
  }

  private static Document run(Document step) {
    return switch (step.getString("do")) {
      case "open" -> open(step);
      case "ping" -> ping();
      case "status" -> status();
      case "crud" -> crud(collection(step));
      case "read" -> read(step);
      case "insert" -> insert(step, step.getInteger("id"));
      case "inserts" -> inserts(step);
      case "cursor" -> cursor(step);
      case "transaction" -> transaction(step);
      case "pool" -> pool(step);
      case "events" -> new Document("cleared", cleared.get());
      default -> throw new MongoException("an unknown step");
    };
  }

  private static Document open(Document step) {
    var settings = MongoClientSettings.builder()
        .applyConnectionString(new ConnectionString(step.getString("uri")))
        .addCommandListener(new CommandListener() {
          @Override
          public void commandStarted(CommandStartedEvent event) {
            if (event.getCommandName().equals("getMore")) getMores.incrementAndGet();
          }
        })
        .applyToConnectionPoolSettings(pool -> pool.addConnectionPoolListener(new ConnectionPoolListener() {
          @Override
          public void connectionReady(ConnectionReadyEvent event) {
            ready.incrementAndGet();
          }

          @Override
          public void connectionPoolCleared(ConnectionPoolClearedEvent event) {
            cleared.incrementAndGet();
          }
        }))
        .build();
    client = MongoClients.create(settings);
    return new Document();
  }

  private static Document ping() {
    client.getDatabase("admin").runCommand(new Document("ping", 1));
    return new Document();
  }

  private static Document status() {
    var reply = client.getDatabase("admin").runCommand(new Document("connectionStatus", 1));
    var info = reply.get("authInfo", Document.class);
    return new Document("users", select(info.getList("authenticatedUsers", Document.class), "user"))
        .append("roles", select(info.getList("authenticatedUserRoles", Document.class), "role"));
  }

  private static List<Document> select(List<Document> entries, String name) {
    return entries.stream()
        .map(entry -> new Document(name, entry.get(name)).append("db", entry.get("db")))
        .toList();
  }

  private static Document crud(MongoCollection<Document> collection) {
    collection.deleteMany(new Document());
    var documents = List.of(numbered(1), numbered(2), numbered(3));
    var inserted = collection.insertMany(documents).getInsertedIds().size();
    var modified = collection.updateOne(Filters.eq(2), Updates.set("n", 20)).getModifiedCount();
    var upsert = collection.updateOne(Filters.eq(4), Updates.set("n", 4), new UpdateOptions().upsert(true));
    var deleted = collection.deleteOne(Filters.eq(1)).getDeletedCount();
    var found = new ArrayList<List<Object>>();
    for (var document : collection.find(Filters.gte("n", 3)).sort(Sorts.ascending("n"))) {
      found.add(List.of(document.get("_id"), document.get("n")));
    }
    return new Document("inserted", inserted)
        .append("modified", (int) modified)
        .append("upserted", upsert.getUpsertedId() == null ? 0 : 1)
        .append("deleted", (int) deleted)
        .append("found", found)
        .append("remaining", (int) collection.countDocuments());
  }

  private static Document numbered(int n) {
    return new Document("_id", n).append("n", n);
  }

  private static Document read(Document step) {
    collection(step).find().first();
    return new Document();
  }

  private static Document insert(Document step, Integer id) {
    var document = new Document("by", "java");
    if (id != null) document.append("_id", id);
    collection(step).insertOne(document);
    return new Document();
  }

  /** Inserts documents concurrently and returns the errors that the application sees. */
  private static Document inserts(Document step) {
    var failed = new ArrayList<Document>();
    concurrently(step.getList("ids", Integer.class), id -> {
      try {
        insert(step, id);
      } catch (MongoException error) {
        synchronized (failed) {
          failed.add(describe(error).append("id", id));
        }
      }
    });
    return new Document("failed", failed);
  }

  /** Writes `count` documents and reads all of them in batches. */
  private static Document cursor(Document step) {
    var collection = collection(step);
    int count = step.getInteger("count");
    collection.deleteMany(new Document());
    var documents = new ArrayList<Document>();
    for (int n = 0; n < count; n++) documents.add(new Document("n", n).append("text", String.format("%0100d", n)));
    collection.insertMany(documents);
    getMores.set(0);
    int found = 0;
    Set<Object> distinct = new HashSet<>();
    for (var document : collection.find().batchSize(step.getInteger("batchSize"))) {
      found++;
      distinct.add(document.get("n"));
    }
    return new Document("count", found).append("distinct", distinct.size()).append("getMores", getMores.get());
  }

  /** Two inserts in one transaction, `pauseMS` apart. The second one and the commit use the same connection. */
  private static Document transaction(Document step) {
    var collection = collection(step);
    try (var session = client.startSession()) {
      session.startTransaction();
      collection.insertOne(session, new Document("by", "java"));
      pause(step.getInteger("pauseMS"));
      collection.insertOne(session, new Document("by", "java"));
      session.commitTransaction();
    }
    return new Document();
  }

  /** Waits until the pool has `count` connections, then runs as many workers with ten pings each. */
  private static Document pool(Document step) {
    ping();
    int count = step.getInteger("count");
    var deadline = System.nanoTime() + 60_000_000_000L;
    while (ready.get() < count) {
      if (System.nanoTime() > deadline) throw new MongoException("only " + ready + " connections are ready");
      pause(10);
    }
    var answered = new AtomicInteger();
    var workers = new ArrayList<Integer>();
    for (int worker = 0; worker < count; worker++) workers.add(worker);
    concurrently(workers, worker -> {
      for (int nth = 0; nth < 10; nth++) {
        ping();
        answered.incrementAndGet();
      }
    });
    return new Document("ready", ready.get()).append("answered", answered.get());
  }

  private static <T> void concurrently(List<T> items, Consumer<T> work) {
    var threads = items.stream().map(item -> new Thread(() -> work.accept(item))).toList();
    threads.forEach(Thread::start);
    try {
      for (var thread : threads) thread.join();
    } catch (InterruptedException interrupted) {
      throw new MongoException("interrupted", interrupted);
    }
  }

  private static void pause(int ms) {
    try {
      Thread.sleep(ms);
    } catch (InterruptedException interrupted) {
      throw new MongoException("interrupted", interrupted);
    }
  }

  private static MongoCollection<Document> collection(Document step) {
    return client.getDatabase("app").getCollection(step.getString("in"));
  }

  /** An error as the application sees it. A login that failed is the cause of the error that the driver throws. */
  private static Document describe(MongoException error) {
    var known = error;
    for (Throwable cause = error; cause != null; cause = cause.getCause()) {
      if (cause instanceof MongoCommandException || cause instanceof MongoWriteException) known = (MongoException) cause;
    }
    return new Document("code", known.getCode() < 0 ? null : known.getCode())
        .append("message", error.getMessage())
        .append("labels", new ArrayList<>(known.getErrorLabels()));
  }
}
