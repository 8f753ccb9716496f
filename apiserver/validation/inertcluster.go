package validation

import (
	"reflect"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

const (
	noBalancers = "there are no load balancers here, and nobody makes one"
	longSince   = "it does nothing in Kubernetes any more"
)

func init() {
	treat[appsv1.Deployment](fields{honoured: "metadata spec status"})
	treat[appsv1.DeploymentSpec](fields{honoured: "replicas selector template strategy minReadySeconds revisionHistoryLimit paused progressDeadlineSeconds"})
	treat[appsv1.DeploymentStrategy](fields{honoured: "type rollingUpdate"})
	treat[appsv1.RollingUpdateDeployment](fields{honoured: "maxUnavailable maxSurge"})
	treat[appsv1.ReplicaSet](fields{honoured: "metadata spec status"})
	treat[appsv1.ReplicaSetSpec](fields{honoured: "replicas minReadySeconds selector template"})

	treat[corev1.Namespace](fields{honoured: "metadata spec status", keys: namespaceKeys})
	treat[corev1.NamespaceSpec](fields{honoured: "finalizers"})
	treat[corev1.Node](fields{honoured: "metadata spec status"})
	treat[corev1.NodeSpec](fields{honoured: "podCIDR podCIDRs providerID unschedulable taints", inert: map[string]inertField{
		"configSource": {longSince, nil}, "externalID": {longSince, nil}, "podPreemptionPolicy": {alphaInKube, nil},
	}})
	treat[corev1.Taint](fields{honoured: "key value effect timeAdded"})
	treat[corev1.ConfigMap](fields{honoured: "metadata immutable data binaryData"})
	treat[corev1.Secret](fields{honoured: "metadata immutable data stringData", inert: map[string]inertField{
		"type": {"no token is put in it yet: there is no controller for it", func(value, in reflect.Value) bool {
			secret := in.Interface().(corev1.Secret)
			return secret.Type != corev1.SecretTypeServiceAccountToken || len(secret.Data[corev1.ServiceAccountTokenKey]) > 0
		}},
	}})
	treat[corev1.ServiceAccount](fields{honoured: "metadata secrets imagePullSecrets", inert: map[string]inertField{
		"automountServiceAccountToken": {noTokens, equals(false)},
	}})
	treat[corev1.ObjectReference](fields{honoured: "kind namespace name uid apiVersion resourceVersion fieldPath"})
	treat[corev1.Event](fields{honoured: "metadata involvedObject reason message source firstTimestamp lastTimestamp count type " +
		"eventTime series action related reportingComponent reportingInstance"})
	treat[corev1.EventSeries](fields{honoured: "count lastObservedTime"})
	treat[corev1.EventSource](fields{honoured: "component host"})
	treat[coordinationv1.Lease](fields{honoured: "metadata spec"})
	coordinated := inertField{"there is no coordinated leader election", nil}
	treat[coordinationv1.LeaseSpec](fields{honoured: "holderIdentity leaseDurationSeconds acquireTime renewTime leaseTransitions",
		inert: map[string]inertField{"strategy": coordinated, "preferredHolder": coordinated}})
	treatServices()
}

func treatServices() {
	treat[corev1.Service](fields{honoured: "metadata spec status"})
	treat[corev1.ServiceSpec](fields{
		honoured: "ports selector clusterIP clusterIPs sessionAffinity sessionAffinityConfig externalTrafficPolicy publishNotReadyAddresses " +
			"allocateLoadBalancerNodePorts externalIPs internalTrafficPolicy ipFamilies ipFamilyPolicy",
		inert: map[string]inertField{
			"type":                     {noBalancers, func(value, _ reflect.Value) bool { return value.String() != string(corev1.ServiceTypeLoadBalancer) }},
			"externalName":             {"there is no cluster DNS yet that answers with it", nil},
			"loadBalancerIP":           {noBalancers, nil},
			"loadBalancerSourceRanges": {noBalancers, nil},
			"loadBalancerClass":        {noBalancers, nil},
			"healthCheckNodePort":      {noBalancers, nil},
			"trafficDistribution":      {"nodes send to all endpoints alike", nil},
		},
	})
	treat[corev1.ServicePort](fields{honoured: "name protocol appProtocol port targetPort nodePort"})
	treat[corev1.SessionAffinityConfig](fields{honoured: "clientIP"})
	treat[corev1.ClientIPConfig](fields{honoured: "timeoutSeconds"})
	treat[discoveryv1.EndpointSlice](fields{honoured: "metadata endpoints ports", inert: map[string]inertField{
		"addressType": {"nodes send to IPv4 addresses only", equals(discoveryv1.AddressTypeIPv4)},
	}})
	// The zone and the deprecated topology only say where an endpoint is.
	treat[discoveryv1.Endpoint](fields{honoured: "addresses conditions hostname targetRef deprecatedTopology nodeName zone",
		inert: map[string]inertField{"hints": {"nodes send to all endpoints alike", nil}}})
	treat[discoveryv1.EndpointConditions](fields{honoured: "ready serving terminating"})
	treat[discoveryv1.EndpointPort](fields{honoured: "name protocol port appProtocol"})
}
