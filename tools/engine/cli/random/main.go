// A stand-in for Pulumi's random plugin where that can't be downloaded: it makes RandomPasswords and nothing else.
//
// It follows the real plugin (4.21.4) in all that Sluice relies on: a secret `result`, the id `none`, and a
// replacement whenever an argument changes. What it doesn't implement it refuses, so that a program never gets
// something else than it asked for. tests/tools/test_random_standin.py holds both to the same cases.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"maps"
	"math"
	"math/big"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/sig"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/urn"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	password = "random:index/randomPassword:RandomPassword"
	// The real plugin's id of every RandomPassword; an id can't be secret, so it must not hold the value.
	id = "none"
	// What the engine says of a value that is known only after an update (sdk/go/common/resource/plugin/rpc.go).
	unknown = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
)

// What each switch lets into the password; all are on unless switched off (pulumi-random, RandomPassword).
var characters = map[string]string{
	"upper":   "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
	"lower":   "abcdefghijklmnopqrstuvwxyz",
	"numeric": "0123456789",
	"special": "!@#$%&*()-_=+[]{}<>:?",
}

var switches = slices.Sorted(maps.Keys(characters))

var version string // the real plugin's, set by the linker

// plain gives a property's value without the marks of secrets in it.
func plain(value any) any {
	object, is := value.(map[string]any)
	if !is {
		return value
	}
	if object[sig.Key] == sig.Secret {
		return plain(object["value"])
	}
	found := map[string]any{}
	for name, value := range object {
		found[name] = plain(value)
	}
	return found
}

// given gives a resource's properties, without marks of secrets.
func given(properties *structpb.Struct) map[string]any {
	return plain(properties.AsMap()).(map[string]any)
}

// settled gives the arguments with their defaults filled in: what two sets of them are compared by.
func settled(arguments map[string]any) map[string]any {
	found := map[string]any{"length": arguments["length"], "keepers": arguments["keepers"]}
	for _, name := range switches {
		found[name] = arguments[name]
	}
	if found["numeric"] == nil {
		found["numeric"] = arguments["number"] // its older name
	}
	for _, name := range switches {
		if found[name] == nil {
			found[name] = true
		}
	}
	// The real plugin doesn't replace for an empty map or a key without a value.
	if found["keepers"] == nil {
		found["keepers"] = map[string]any{}
	}
	if keepers, is := found["keepers"].(map[string]any); is {
		maps.DeleteFunc(keepers, func(_ string, value any) bool { return value == nil })
	}
	return found
}

// mistakes tells what is wrong with a RandomPassword's arguments; unknown values pass.
func mistakes(arguments map[string]any) (found []*pulumirpc.CheckFailure) {
	refuse := func(name, reason string) {
		found = append(found, &pulumirpc.CheckFailure{Property: name, Reason: reason})
	}
	for _, name := range slices.Sorted(maps.Keys(arguments)) {
		value := arguments[name]
		_, isSwitch := characters[name]
		_, isBool := value.(bool)
		switch {
		case isSwitch && value != nil && !isBool && value != unknown:
			refuse(name, "must be true or false")
		case isSwitch || name == "length" || name == "keepers" || name == "number":
		case value != nil && value != 0.0 && value != false:
			refuse(name, "the stand-in for the random plugin doesn't implement this argument")
		}
	}
	length, isNumber := arguments["length"].(float64)
	if arguments["length"] != unknown && !(isNumber && length >= 1 && length == math.Trunc(length)) {
		refuse("length", "must be a whole number of at least 1")
	}
	all := settled(arguments)
	if !slices.ContainsFunc(switches, func(name string) bool { return all[name] != false }) {
		refuse("special", "one of upper, lower, numeric, special must be true")
	}
	return found
}

// changes gives each property path that differs; any of them replaces the password.
func changes(old, new map[string]any) map[string]pulumirpc.PropertyDiff_Kind {
	found := map[string]pulumirpc.PropertyDiff_Kind{}
	before, after := settled(old), settled(new)
	kept, isMap := before["keepers"].(map[string]any)
	wanted, areMaps := after["keepers"].(map[string]any)
	if areMaps = areMaps && isMap; areMaps { // otherwise the whole map is unknown
		delete(before, "keepers")
	}
	for name := range before {
		if !reflect.DeepEqual(before[name], after[name]) {
			found[name] = pulumirpc.PropertyDiff_UPDATE_REPLACE
		}
	}
	if !areMaps {
		return found
	}
	path := func(key string) string { return resource.PropertyPath{"keepers", key}.String() }
	for key, value := range kept {
		if now, has := wanted[key]; !has {
			found[path(key)] = pulumirpc.PropertyDiff_DELETE_REPLACE
		} else if !reflect.DeepEqual(now, value) {
			found[path(key)] = pulumirpc.PropertyDiff_UPDATE_REPLACE
		}
	}
	for key := range wanted {
		if _, has := kept[key]; !has {
			found[path(key)] = pulumirpc.PropertyDiff_ADD_REPLACE
		}
	}
	return found
}

// generated gives a new password from the system's randomness.
func generated(arguments map[string]any) (string, error) {
	all, alphabet := settled(arguments), ""
	for _, name := range switches {
		if all[name] == true {
			alphabet += characters[name]
		}
	}
	length, _ := all["length"].(float64)
	result := make([]byte, int(length))
	for index := range result {
		chosen, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			return "", err
		}
		result[index] = alphabet[chosen.Int64()]
	}
	return string(result), nil
}

// secret gives a value its mark; one that has it stays as it is.
func secret(value *structpb.Value) *structpb.Value {
	if value.GetStructValue().GetFields()[sig.Key].GetStringValue() == sig.Secret {
		return value
	}
	return structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
		sig.Key: structpb.NewStringValue(sig.Secret),
		"value": value,
	}})
}

// server has the provider protocol's methods around the functions above.
type server struct {
	pulumirpc.UnimplementedResourceProviderServer
}

func (server) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: version}, nil
}

func (server) CheckConfig(_ context.Context, asked *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	return &pulumirpc.CheckResponse{Inputs: asked.GetNews()}, nil
}

func (server) DiffConfig(context.Context, *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	return &pulumirpc.DiffResponse{Changes: pulumirpc.DiffResponse_DIFF_NONE}, nil
}

func (server) Configure(context.Context, *pulumirpc.ConfigureRequest) (*pulumirpc.ConfigureResponse, error) {
	return &pulumirpc.ConfigureResponse{AcceptSecrets: true, SupportsPreview: true}, nil
}

func (server) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (server) Check(_ context.Context, asked *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	found := &pulumirpc.CheckResponse{Inputs: asked.GetNews()}
	if kind := urn.URN(asked.GetUrn()).Type(); kind != password {
		reason := fmt.Sprintf("the stand-in for the random plugin has no %s; install the real plugin", kind)
		found.Failures = []*pulumirpc.CheckFailure{{Reason: reason}}
	} else {
		found.Failures = mistakes(given(asked.GetNews()))
	}
	return found, nil
}

func (server) Diff(_ context.Context, asked *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	found := &pulumirpc.DiffResponse{
		Changes:         pulumirpc.DiffResponse_DIFF_NONE,
		DetailedDiff:    map[string]*pulumirpc.PropertyDiff{},
		HasDetailedDiff: true,
	}
	for path, kind := range changes(given(asked.GetOlds()), given(asked.GetNews())) {
		found.Changes = pulumirpc.DiffResponse_DIFF_SOME
		found.DetailedDiff[path] = &pulumirpc.PropertyDiff{Kind: kind, InputDiff: true}
		found.Diffs = append(found.Diffs, strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' })[0])
	}
	slices.Sort(found.Diffs)
	found.Diffs = slices.Compact(found.Diffs)
	found.Replaces = found.Diffs
	return found, nil
}

func (server) Create(_ context.Context, asked *pulumirpc.CreateRequest) (*pulumirpc.CreateResponse, error) {
	arguments := given(asked.GetProperties())
	made := map[string]*structpb.Value{}
	for _, name := range switches {
		if value, is := settled(arguments)[name].(bool); is {
			made[name] = structpb.NewBoolValue(value)
		}
	}
	maps.Copy(made, asked.GetProperties().GetFields())
	properties := &structpb.Struct{Fields: made}
	if asked.GetPreview() {
		made["result"] = secret(structpb.NewStringValue(unknown))
		return &pulumirpc.CreateResponse{Properties: properties}, nil
	}
	result, err := generated(arguments)
	made["result"] = secret(structpb.NewStringValue(result))
	return &pulumirpc.CreateResponse{Id: id, Properties: properties}, err
}

func (server) Read(_ context.Context, asked *pulumirpc.ReadRequest) (*pulumirpc.ReadResponse, error) {
	held := maps.Clone(asked.GetProperties().GetFields())
	if held["result"] == nil {
		return nil, status.Error(codes.Unimplemented, "the stand-in for the random plugin can't import; install the real plugin")
	}
	// The secret mark is put back: a plain value returned here would land in the state in clear.
	held["result"] = secret(held["result"])
	return &pulumirpc.ReadResponse{Id: asked.GetId(), Properties: &structpb.Struct{Fields: held}, Inputs: asked.GetInputs()}, nil
}

// Delete has nothing to do: nothing exists outside of the state.
func (server) Delete(context.Context, *pulumirpc.DeleteRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func main() {
	engine := os.Getppid()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	served := grpc.NewServer()
	pulumirpc.RegisterResourceProviderServer(served, server{})
	go func() { // nothing tells a process that its parent has ended
		for os.Getppid() == engine {
			time.Sleep(500 * time.Millisecond)
		}
		os.Exit(0)
	}()
	fmt.Println(listener.Addr().(*net.TCPAddr).Port) // the engine reads the port from here
	log.Fatal(served.Serve(listener))
}
