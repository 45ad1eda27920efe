// A stand-in for the kubelet's side of the device plugin protocol: lets plugins register, and prints for each resource the
// devices of its first list, one line `<resource> <device id> <health>` each. Ends with success when it has printed as many
// devices as its argument says, and with failure after 20 seconds.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	v1beta1 "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

type registry struct {
	v1beta1.UnimplementedRegistrationServer
}

func (registry) Register(_ context.Context, asked *v1beta1.RegisterRequest) (*v1beta1.Empty, error) {
	go list(asked.ResourceName, filepath.Join(v1beta1.DevicePluginPath, asked.Endpoint))
	return &v1beta1.Empty{}, nil
}

func list(resource, socket string) {
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fail(err)
	}
	watch, err := v1beta1.NewDevicePluginClient(connection).ListAndWatch(context.Background(), &v1beta1.Empty{})
	if err != nil {
		fail(err)
	}
	first, err := watch.Recv()
	if err != nil {
		fail(err)
	}
	printing.Lock()
	defer printing.Unlock()
	for _, device := range first.Devices {
		fmt.Println(resource, device.ID, device.Health)
		if expected--; expected == 0 {
			os.Exit(0)
		}
	}
}

var (
	printing sync.Mutex
	expected int
)

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func main() {
	var err error
	if expected, err = strconv.Atoi(os.Args[1]); err != nil {
		fail(err)
	}
	listener, err := net.Listen("unix", v1beta1.KubeletSocket)
	if err != nil {
		fail(err)
	}
	server := grpc.NewServer()
	v1beta1.RegisterRegistrationServer(server, registry{})
	time.AfterFunc(20*time.Second, func() { fail(errors.New("the devices that are expected were not listed")) })
	if err := server.Serve(listener); err != nil {
		fail(err)
	}
}
