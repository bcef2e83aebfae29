/* A PKCS #11 module in front of another one (MEDDLING_MODULE), which fails when the file MEDDLING_ORDERS says so.

   With MEDDLING_MICROSECONDS it waits so long for each signature: a token that computes elsewhere.
   Of the list of functions only the order is used: it is that of PKCS #11 2.40, and each is a pointer. */

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long CK_RV, CK_ULONG;
typedef struct { unsigned char major, minor; void *functions[68]; } List;
typedef CK_RV (*Initialize)(void *);
typedef CK_RV (*Login)(CK_ULONG, CK_ULONG, unsigned char *, CK_ULONG);
typedef CK_RV (*GetSlotList)(unsigned char, CK_ULONG *, CK_ULONG *);
typedef CK_RV (*GetTokenInfo)(CK_ULONG, unsigned char *);
typedef CK_RV (*DestroyObject)(CK_ULONG, CK_ULONG);
typedef CK_RV (*Sign)(CK_ULONG, unsigned char *, CK_ULONG, unsigned char *, CK_ULONG *);

enum { INITIALIZE = 0, GET_FUNCTION_LIST = 3, GET_SLOT_LIST = 4, GET_TOKEN_INFO = 6, LOGIN = 18,
       DESTROY_OBJECT = 22, SIGN = 43 };
enum { CKR_GENERAL_ERROR = 5, CKR_DEVICE_ERROR = 0x30, CKR_PIN_LOCKED = 0xa4 };
enum { FLAGS = 96, CKF_USER_PIN_FINAL_TRY = 0x20000 }; /* where the flags of CK_TOKEN_INFO are */

static List list;
static List *inner;
static int initialized;

static int ordered(const char *word) {
  char order[32] = "";
  FILE *file = fopen(getenv("MEDDLING_ORDERS"), "r");
  if (file) {
    if (!fgets(order, sizeof order, file)) order[0] = 0;
    fclose(file);
  }
  return !strcmp(order, word);
}

static CK_RV initialize(void *arguments) {
  initialized++;
  /* NSS takes its database as a string between the flags and the reserved pointer. */
  struct { void *mutexes[4]; CK_ULONG flags; char *parameters; void *reserved; } of_nss = {{0}, 2, 0, 0};
  of_nss.parameters = getenv("MEDDLING_NSS");
  return ((Initialize)inner->functions[INITIALIZE])(of_nss.parameters ? (void *)&of_nss : arguments);
}

static CK_RV get_slot_list(unsigned char present, CK_ULONG *slots, CK_ULONG *count) {
  if (ordered("late") && initialized < 2) { *count = 0; return 0; }
  return ((GetSlotList)inner->functions[GET_SLOT_LIST])(present, slots, count);
}

static CK_RV get_token_info(CK_ULONG slot, unsigned char *info) {
  CK_RV result = ((GetTokenInfo)inner->functions[GET_TOKEN_INFO])(slot, info);
  if (!result && ordered("final")) *(CK_ULONG *)(info + FLAGS) |= CKF_USER_PIN_FINAL_TRY;
  return result;
}

static CK_RV destroy_object(CK_ULONG session, CK_ULONG object) {
  static int calls;
  if (ordered("busy") && ++calls % 2) return CKR_GENERAL_ERROR;
  return ((DestroyObject)inner->functions[DESTROY_OBJECT])(session, object);
}

static CK_RV login(CK_ULONG session, CK_ULONG user, unsigned char *pin, CK_ULONG length) {
  if (ordered("locked")) return CKR_PIN_LOCKED;
  return ((Login)inner->functions[LOGIN])(session, user, pin, length);
}

static CK_RV sign(CK_ULONG session, unsigned char *data, CK_ULONG length, unsigned char *signature, CK_ULONG *size) {
  if (ordered("crash")) abort();
  while (ordered("hang")) usleep(1000);
  if (ordered("error")) return CKR_DEVICE_ERROR;
  if (ordered("slow")) usleep(30000); /* as a card does */
  if (signature && getenv("MEDDLING_MICROSECONDS")) usleep(atoi(getenv("MEDDLING_MICROSECONDS")));
  CK_RV result = ((Sign)inner->functions[SIGN])(session, data, length, signature, size);
  if (!result && signature && ordered("wrong")) signature[*size - 1] ^= 1;
  return result;
}

CK_RV C_GetFunctionList(List **out) {
  void *module = dlopen(getenv("MEDDLING_MODULE"), RTLD_NOW);
  if (!module) { fprintf(stderr, "%s\n", dlerror()); return 5; }
  CK_RV result = ((CK_RV (*)(List **))dlsym(module, "C_GetFunctionList"))(&inner);
  if (result) return result;
  list = *inner;
  list.functions[INITIALIZE] = initialize;
  list.functions[GET_FUNCTION_LIST] = C_GetFunctionList;
  list.functions[GET_SLOT_LIST] = get_slot_list;
  list.functions[GET_TOKEN_INFO] = get_token_info;
  list.functions[LOGIN] = login;
  list.functions[DESTROY_OBJECT] = destroy_object;
  list.functions[SIGN] = sign;
  *out = &list;
  return 0;
}
