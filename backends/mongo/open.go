package mongo

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"github.com/graphcache/graphcache/driver"
)

// Open connects to the deployment at a URI, "mongodb://…" or "mongodb+srv://…", and returns
// a store in its database. It fails if the deployment does not answer. Neither errors nor
// logs have the URI's password.
func Open(ctx context.Context, uri string, opts *Options) (*Store, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	client := options.Client().ApplyURI(uri)
	if err := client.Validate(); err != nil {
		return nil, fmt.Errorf("mongo: the URI: %s", redact(uri, err.Error()))
	}
	if o.Database == "" {
		parsed, err := connstring.Parse(uri)
		if err != nil {
			return nil, fmt.Errorf("mongo: the URI: %s", redact(uri, err.Error()))
		}
		o.Database = parsed.Database
	}
	if err := o.checkClient(client); err != nil {
		return nil, err
	}
	c, err := mongo.Connect(client)
	if err != nil {
		return nil, fmt.Errorf("mongo: connect: %s", redact(uri, err.Error()))
	}
	s, err := open(ctx, c, o)
	if err != nil {
		return nil, errors.Join(err, c.Disconnect(context.WithoutCancel(ctx)))
	}
	s.db.own = true
	return s, nil
}

// New returns a store in the database Options.Database of a client, which [Store.Close]
// leaves connected. The client's own options cannot be seen; its retryable writes should
// be on, as they are by default, and its read preference and concerns do not matter.
func New(ctx context.Context, client *mongo.Client, opts *Options) (*Store, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	return open(ctx, client, o)
}

func open(ctx context.Context, client *mongo.Client, o Options) (*Store, error) {
	if o.Database == "" {
		return nil, errors.New("mongo: no database is named, in the URI or in Options.Database")
	}
	db := &database{client: client, db: client.Database(o.Database), opts: o, spaces: make(map[string]*space)}
	var err error
	if db.caps, err = probe(ctx, db.db); err != nil {
		return nil, err
	}
	db.background, db.stop = context.WithCancel(context.WithoutCancel(ctx))
	return &Store{db: db, space: db.space("")}, nil
}

// checkClient looks for options of the client that ask for less than the store guarantees.
func (o *Options) checkClient(c *options.ClientOptions) error {
	var less []string
	if p := c.ReadPreference; p != nil && p.Mode() != readpref.PrimaryMode {
		less = append(less, "the read preference "+p.Mode().String())
	}
	if c := c.ReadConcern; c != nil && c.Level != "" && c.Level != "majority" {
		less = append(less, "the read concern "+c.Level)
	}
	if c := c.WriteConcern; c != nil && c.W != nil && c.W != "majority" {
		less = append(less, fmt.Sprintf("the write concern w: %v", c.W))
	}
	if c.RetryWrites != nil && !*c.RetryWrites {
		less = append(less, "retryWrites: false")
	}
	if less == nil {
		return nil
	}
	what := strings.Join(less, ", ")
	if o.Strict {
		return fmt.Errorf("mongo: the client asks for %s, which is less than cached reads rely on (Options.Strict)", what)
	}
	o.Logger.Warn("mongo: the client asks for less than cached reads rely on; all but retryWrites is not followed", "options", what)
	return nil
}

// redact takes what a URI has before its hosts out of a text.
func redact(uri, text string) string {
	_, rest, ok := strings.Cut(uri, "://")
	end := strings.LastIndexByte(rest, '@')
	if !ok || end < 0 {
		return text
	}
	user := rest[:end]
	_, password, _ := strings.Cut(user, ":")
	unescaped, err := url.PathUnescape(password)
	if err != nil { // which text says, with the part of it that is wrong
		return "the password is not percent-encoded"
	}
	text = strings.ReplaceAll(text, user+"@", "")
	for _, secret := range []string{password, unescaped} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "xxxxx")
		}
	}
	return text
}

// capabilities is what the deployment can do, and what it is.
type capabilities struct {
	driver.Capabilities
	// wire is the version of the protocol: 9 is MongoDB 4.4, 13 is 5.0, 17 is 6.0, 21 is 7.0.
	wire int32
	// sharded: it is a mongos that answers.
	sharded bool
}

// The versions of the protocol that matter.
const (
	wireLookup    = 17 // $documents, $lookup of equal fields with a pipeline
	wirePreImages = 17
	wireDiskUse   = 17 // large sorts need not ask for it
)

// probe asks the deployment what it is. It tries nothing out: there are servers that accept
// a transaction and keep what was aborted.
func probe(ctx context.Context, db *mongo.Database) (capabilities, error) {
	var hello struct {
		SetName  string `bson:"setName"`
		Msg      string `bson:"msg"`
		Wire     int32  `bson:"maxWireVersion"`
		Sessions *int32 `bson:"logicalSessionTimeoutMinutes"`
	}
	command := bson.D{{Key: "hello", Value: 1}}
	err := db.RunCommand(ctx, command, options.RunCmd().SetReadPreference(readpref.Primary())).Decode(&hello)
	if err != nil {
		return capabilities{}, fmt.Errorf("mongo: hello: %w: %w", driver.ErrUnavailable, err)
	}
	c := capabilities{wire: hello.Wire, sharded: hello.Msg == "isdbgrid"}
	c.Stamps = hello.Sessions != nil && (c.sharded || hello.SetName != "")
	c.Transactions = c.Stamps
	c.Name = "MongoDB"
	var build struct{ Version string }
	if db.RunCommand(ctx, bson.D{{Key: "buildInfo", Value: 1}}).Decode(&build) == nil {
		c.Name += " " + build.Version
	}
	return c, nil
}
