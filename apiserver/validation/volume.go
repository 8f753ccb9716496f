package validation

import (
	"path"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateVolumes checks a pod's volumes, and gives the names of those that can be mounted.
func validateVolumes(volumes []corev1.Volume, path *field.Path) (field.ErrorList, map[string]bool) {
	var errs field.ErrorList
	names := map[string]bool{}
	for i := range volumes {
		v, path := &volumes[i], path.Index(i)
		switch {
		case v.Name == "":
			errs = append(errs, field.Required(path.Child("name"), ""))
		case names[v.Name]:
			errs = append(errs, field.Duplicate(path.Child("name"), v.Name))
		default:
			errs = append(errs, each(validation.IsDNS1123Label(v.Name), v.Name, path.Child("name"))...)
			names[v.Name] = true
		}
		errs = append(errs, validateVolumeSource(&v.VolumeSource, path)...)
	}
	return errs, names
}

func validateVolumeSource(source *corev1.VolumeSource, path *field.Path) field.ErrorList {
	errs := validateOneSource(source, path)
	if v := source.EmptyDir; v != nil && v.SizeLimit != nil && v.SizeLimit.Sign() < 0 {
		errs = append(errs, field.Forbidden(path.Child("emptyDir", "sizeLimit"), "SizeLimit field must be a valid resource quantity"))
	}
	if v := source.HostPath; v != nil {
		errs = append(errs, validateHostPath(v, path.Child("hostPath"))...)
	}
	if v := source.ConfigMap; v != nil {
		path := path.Child("configMap")
		if v.Name == "" {
			errs = append(errs, field.Required(path.Child("name"), ""))
		}
		errs = append(errs, validateMode(v.DefaultMode, path.Child("defaultMode"))...)
		errs = append(errs, validateItems(v.Items, path.Child("items"))...)
	}
	if v := source.Secret; v != nil {
		path := path.Child("secret")
		if v.SecretName == "" {
			errs = append(errs, field.Required(path.Child("secretName"), ""))
		}
		errs = append(errs, validateMode(v.DefaultMode, path.Child("defaultMode"))...)
		errs = append(errs, validateItems(v.Items, path.Child("items"))...)
	}
	if v := source.DownwardAPI; v != nil {
		errs = append(errs, validateMode(v.DefaultMode, path.Child("downwardAPI", "defaultMode"))...)
		errs = append(errs, validateDownward(v.Items, path.Child("downwardAPI"))...)
	}
	if v := source.Projected; v != nil {
		errs = append(errs, validateProjected(v, path.Child("projected"))...)
	}
	if v := source.PersistentVolumeClaim; v != nil && v.ClaimName == "" {
		errs = append(errs, field.Required(path.Child("persistentVolumeClaim", "claimName"), ""))
	}
	if v := source.NFS; v != nil {
		errs = append(errs, validateNFS(v, path.Child("nfs"))...)
	}
	return errs
}

// validateOneSource counts the sources: there are three dozen, and each is a pointer.
func validateOneSource(source *corev1.VolumeSource, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	value := reflect.ValueOf(source).Elem()
	given := 0
	for i := range value.NumField() {
		if value.Field(i).IsNil() {
			continue
		}
		given++
		if given > 1 {
			name, _, _ := strings.Cut(value.Type().Field(i).Tag.Get("json"), ",")
			errs = append(errs, field.Forbidden(path.Child(name), "may not specify more than 1 volume type"))
		}
	}
	if given == 0 {
		errs = append(errs, field.Required(path, "must specify a volume type"))
	}
	return errs
}

var hostPathTypes = []corev1.HostPathType{
	corev1.HostPathUnset, corev1.HostPathDirectoryOrCreate, corev1.HostPathDirectory, corev1.HostPathFileOrCreate,
	corev1.HostPathFile, corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev,
}

func validateHostPath(v *corev1.HostPathVolumeSource, path *field.Path) field.ErrorList {
	if v.Path == "" {
		return field.ErrorList{field.Required(path.Child("path"), "")}
	}
	var errs field.ErrorList
	if strings.Contains("/"+v.Path+"/", "/../") {
		errs = append(errs, field.Invalid(path.Child("path"), v.Path, "must not contain '..'"))
	}
	if v.Type != nil {
		errs = append(errs, oneOf(*v.Type, hostPathTypes, path.Child("type"))...)
	}
	return errs
}

func validateNFS(v *corev1.NFSVolumeSource, fieldPath *field.Path) field.ErrorList {
	var errs field.ErrorList
	if v.Server == "" {
		errs = append(errs, field.Required(fieldPath.Child("server"), ""))
	}
	if v.Path == "" {
		errs = append(errs, field.Required(fieldPath.Child("path"), ""))
	} else if !path.IsAbs(v.Path) {
		errs = append(errs, field.Invalid(fieldPath.Child("path"), v.Path, "must be an absolute path"))
	}
	return errs
}

const modeRange = "must be a number between 0 and 0777 (octal), both inclusive"

func validateMode(mode *int32, path *field.Path) field.ErrorList {
	if mode != nil && (*mode < 0 || *mode > 0o777) {
		return field.ErrorList{field.Invalid(path, *mode, modeRange)}
	}
	return nil
}

func validateItems(items []corev1.KeyToPath, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, item := range items {
		path := path.Index(i)
		if item.Key == "" {
			errs = append(errs, field.Required(path.Child("key"), ""))
		}
		errs = append(errs, validateFilePath(item.Path, path.Child("path"))...)
		errs = append(errs, validateMode(item.Mode, path.Child("mode"))...)
	}
	return errs
}

// validateFilePath checks the path of a file inside a volume.
func validateFilePath(file string, path *field.Path) field.ErrorList {
	if file == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	errs := validateInside(file, path)
	// Names that begin so are where a volume keeps the versions that it switches between.
	if strings.HasPrefix(file, "..") && !strings.HasPrefix(file, "../") && file != ".." {
		errs = append(errs, field.Invalid(path, file, "must not start with '..'"))
	}
	return errs
}

func validateDownward(items []corev1.DownwardAPIVolumeFile, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, item := range items {
		errs = append(errs, validateFilePath(item.Path, path.Child("path"))...)
		errs = append(errs, validateMode(item.Mode, path.Child("mode"))...)
		switch {
		case item.FieldRef != nil && item.ResourceFieldRef != nil:
			errs = append(errs, field.Invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
		case item.FieldRef != nil:
			errs = append(errs, validateFieldRef(item.FieldRef, fileFields, path.Child("fieldRef"))...)
		case item.ResourceFieldRef != nil:
			if item.ResourceFieldRef.ContainerName == "" {
				errs = append(errs, field.Required(path.Index(i).Child("resourceFieldRef", "containerName"), ""))
			}
		default:
			errs = append(errs, field.Required(path, "one of fieldRef and resourceFieldRef is required"))
		}
	}
	return errs
}

func validateProjected(v *corev1.ProjectedVolumeSource, path *field.Path) field.ErrorList {
	errs := validateMode(v.DefaultMode, path.Child("defaultMode"))
	paths := sets.New[string]()
	once := func(file string, at *field.Path) {
		if file != "" && paths.Has(file) {
			errs = append(errs, field.Invalid(at, file, "conflicting duplicate paths"))
		}
		paths.Insert(file)
	}
	for i := range v.Sources {
		source, path := &v.Sources[i], path.Child("sources").Index(i)
		given := 0
		if s := source.Secret; s != nil {
			given++
			errs = append(errs, validateNamedItems(s.Name, s.Items, path.Child("secret"), once)...)
		}
		if s := source.ConfigMap; s != nil {
			given++
			errs = append(errs, validateNamedItems(s.Name, s.Items, path.Child("configMap"), once)...)
		}
		if s := source.DownwardAPI; s != nil {
			given++
			errs = append(errs, validateDownward(s.Items, path.Child("downwardAPI"))...)
		}
		if s := source.ServiceAccountToken; s != nil {
			given++
			errs = append(errs, validateTokenSource(s, path.Child("serviceAccountToken"))...)
			once(s.Path, path.Child("serviceAccountToken", "path"))
		}
		if source.ClusterTrustBundle != nil {
			given++
		}
		if source.PodCertificate != nil {
			given++
		}
		if given != 1 {
			errs = append(errs, field.Forbidden(path, "must specify exactly 1 volume type"))
		}
	}
	return errs
}

func validateNamedItems(name string, items []corev1.KeyToPath, path *field.Path, once func(string, *field.Path)) field.ErrorList {
	var errs field.ErrorList
	if name == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	for i, item := range items {
		once(item.Path, path.Child("items").Index(i).Child("path"))
	}
	return append(errs, validateItems(items, path.Child("items"))...)
}

// A token lives ten minutes at least, so that there is time to renew it.
const minTokenSeconds = 10 * 60

func validateTokenSource(token *corev1.ServiceAccountTokenProjection, path *field.Path) field.ErrorList {
	errs := validateFilePath(token.Path, path.Child("path"))
	if seconds := token.ExpirationSeconds; seconds != nil {
		if *seconds < minTokenSeconds {
			errs = append(errs, field.Invalid(path.Child("expirationSeconds"), *seconds, "may not specify a duration less than 10 minutes"))
		}
		if *seconds > 1<<32 {
			errs = append(errs, field.Invalid(path.Child("expirationSeconds"), *seconds, "may not specify a duration larger than 2^32 seconds"))
		}
	}
	return errs
}
